package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
)

var errNoObject = errors.New("not a JSON object")

// members calls f with each member of a JSON object, in order; values stay slices of the line. It is there because an
// import reads each line twice: encoding/json would take longer over it than the database. The line must be well-formed;
// of one that is not, it may make nonsense, but never reads beyond it.
func members(line []byte, f func(name string, value []byte) error) error {
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("{"))
	if !ok {
		return errNoObject
	}
	for {
		rest = bytes.TrimLeft(rest, " \t\r\n,")
		if len(rest) == 0 || rest[0] == '}' {
			return nil
		}
		end := valueEnd(rest)
		name, err := memberName(rest[:end])
		if err != nil {
			return err
		}
		rest = bytes.TrimLeft(rest[end:], " \t\r\n:")
		end = valueEnd(rest)
		if end == 0 {
			return errNoObject
		}
		if err := f(name, bytes.TrimRight(rest[:end], " \t\r\n")); err != nil {
			return err
		}
		rest = rest[end:]
	}
}

func memberName(quoted []byte) (name string, err error) {
	if len(quoted) < 2 || quoted[0] != '"' {
		return "", errNoObject
	}
	if bytes.IndexByte(quoted, '\\') >= 0 {
		return name, json.Unmarshal(quoted, &name)
	}
	return string(quoted[1 : len(quoted)-1]), nil
}

// valueEnd returns where the value that b starts with has ended.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
			if depth == 0 {
				return min(i+1, len(b))
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the object around a number or a name
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// stringEnd returns the length of the quoted string that b starts with.
func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++ // what is escaped
		}
	}
	return len(b)
}
