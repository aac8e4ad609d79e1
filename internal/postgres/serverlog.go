package postgres

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

const (
	logMax  = 10 << 20 // bytes of a log that is put aside at the next start
	logTail = 10       // lines quoted when a start fails
)

// serverLog is the server's own log, opened for one run.
type serverLog struct {
	*os.File
	began int64
}

func rotateLog(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || info.Size() < logMax {
		return err
	}
	return os.Rename(path, path+".1")
}

func openLog(path string) (*serverLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &serverLog{File: f, began: end}, nil
}

// explain adds to err what the server wrote last in this run.
func (l *serverLog) explain(err error) error {
	text := l.tail()
	if strings.Contains(text, "pre-existing shared memory block") {
		err = fmt.Errorf("%w: %w", errStillInUse, err)
	}
	return fmt.Errorf("%w; %s ends:\n%s", err, l.Name(), text)
}

func (l *serverLog) tail() string {
	end, err := l.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	from := max(l.began, end-16<<10)
	text, err := io.ReadAll(io.NewSectionReader(l, from, end-from))
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text))
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "\n")
}
