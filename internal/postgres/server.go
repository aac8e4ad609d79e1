package postgres

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
)

// ServerConfig says where a private server lives and how it runs.
type ServerConfig struct {
	Dir            string       // Atlas's data directory; everything here lives in its sub-directory "postgres"
	BinDir         string       // where postgres and initdb are; empty means the newest found on this machine
	MaxConnections int          // 100 unless set
	Throwaway      bool         // trades durability for speed: only for data nobody will miss, such as tests
	Logger         *slog.Logger // silent unless set
}

// Server is a running private PostgreSQL server, kept running until Stop.
type Server struct {
	cfg      ServerConfig
	log      *slog.Logger
	home     home
	account  account
	binaries binaries
	lock     *os.File

	stopping context.Context    // done once Stop is called
	stop     context.CancelFunc // cancels stopping
	hurry    chan struct{}      // closed when Stop has waited long enough
	hurried  sync.Once
	done     chan struct{} // closed when the last server process is gone
}

// Start returns once the server of cfg.Dir answers and has a database named atlas; it creates the cluster if there is
// none and stops a server that an Atlas killed earlier left behind. The context bounds the start only.
func Start(ctx context.Context, cfg ServerConfig) (*Server, error) {
	cfg.MaxConnections = cmp.Or(cfg.MaxConnections, 100)
	s := &Server{
		cfg:   cfg,
		log:   cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		hurry: make(chan struct{}),
		done:  make(chan struct{}),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if err := s.start(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) (err error) {
	if s.home, err = openHome(s.cfg.Dir); err != nil {
		return err
	}
	if s.lock, err = lockFile(s.home.lock()); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		unlock(s.lock)
		return err
	}
	ready := make(chan error, 1)
	go s.supervise(ctx, ready)
	if err := <-ready; err != nil {
		<-s.done // the directory is free again
		return err
	}
	return nil
}

// prepare makes everything the server needs to exist before it runs.
func (s *Server) prepare(ctx context.Context) (err error) {
	if s.binaries, err = binariesFor(ctx, s.cfg.BinDir, s.home.data()); err != nil {
		return err
	}
	if s.account, err = serverAccount(s.home.data()); err != nil {
		return err
	}
	if err := s.home.makeSocketDir(s.account); err != nil {
		return err
	}
	if err := rotateLog(s.home.log()); err != nil {
		return err
	}
	return s.createCluster(ctx)
}

// URL is the connection string of the database atlas. It stays the same however often the server restarts.
func (s *Server) URL() string { return s.url("atlas") }

func (s *Server) url(database string) string {
	socket := strings.ReplaceAll(url.QueryEscape(s.home.socket), "+", "%20") // PostgreSQL reads + as itself
	return "postgres://" + superuser + "@/" + database + "?host=" + socket + "&port=" + socketPort
}

// Stop ends the server and returns when its last process is gone. It lets the server finish cleanly until ctx is done
// (or half a minute has passed), and then makes it quit at once, which loses nothing but makes the next start recover.
func (s *Server) Stop(ctx context.Context) error {
	s.stop()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		s.hurried.Do(func() { close(s.hurry) })
	}
	<-s.done
	return fmt.Errorf("stop postgres: %w", context.Cause(ctx))
}
