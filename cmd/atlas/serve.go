package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/telemetry"
)

// drainTimeout bounds how long requests in hand may take once the process was told to stop.
const drainTimeout = 15 * time.Second

func serveCommand(environ []string, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the API, keep the read tables up and run the workers",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := settings(environ, stderr, toServe()...)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, log)
		},
	}
}

// settings reads the configuration, with the secrets that are needed, and makes the log it asks for.
func settings(environ []string, stderr io.Writer, needed ...string) (Config, *slog.Logger, error) {
	cfg, err := loadConfig(environ, needed...)
	if err != nil {
		return cfg, nil, err
	}
	log, err := telemetry.Logger(stderr, cfg.LogLevel, cfg.LogFormat)
	if err != nil {
		return cfg, nil, usageError{err}
	}
	return cfg, slog.New(httpapi.LogHandler(log.Handler())), nil
}

// serve runs until ctx ends, then drains: it takes no new requests, finishes those in hand, then lets projections and
// workers finish, and stops a private server last.
func serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	public, err := listen("ATLAS_ADDR", cfg.Addr)
	if err != nil {
		return err
	}
	defer public.Close()
	ops, err := listen("ATLAS_OPS_ADDR", cfg.OpsAddr)
	if err != nil {
		return err
	}
	defer ops.Close()
	n, err := openNode(ctx, cfg, log, false)
	if err != nil {
		return err
	}
	defer n.close()
	a, err := newApp(ctx, cfg, n)
	if err != nil {
		return err
	}
	log.Info("serving", "addr", public.Addr().String(), "ops_addr", ops.Addr().String(), "version", version,
		"development", cfg.development(), "roles", cfg.Roles)
	err = a.run(ctx, public, ops)
	log.Info("stopped")
	return err
}

// listen takes a port before anything else is started, so that a taken one is known at once.
func listen(setting, addr string) (net.Listener, error) {
	if addr == "off" {
		return closedListener{}, nil
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, usageError{fmt.Errorf("%s: %s is in use; stop what listens there or choose another address", setting, addr)}
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", setting, err)}
	}
	return l, nil
}

// closedListener stands for a listener that was switched off.
type closedListener struct{}

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }
func (closedListener) Addr() net.Addr            { return &net.UnixAddr{Name: "off"} }

// run runs all parts. The HTTP servers end first, so that what they wait for is still there while they drain.
func (a *app) run(ctx context.Context, public, ops net.Listener) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, background := errgroup.WithContext(background)
	for _, part := range a.parts {
		g.Go(func() error { return part(background) })
	}
	g.Go(func() error {
		defer stop()
		return a.serveHTTP(ctx, background, public, ops)
	})
	return g.Wait()
}

// serveHTTP serves until ctx ends or a part fails, and then drains.
func (a *app) serveHTTP(ctx, background context.Context, public, ops net.Listener) error {
	servers := map[*http.Server]net.Listener{
		httpapi.Server("", a.api):          public,
		httpapi.Server("", a.opsHandler()): ops,
	}
	failed := make(chan error, len(servers))
	for server, l := range servers {
		server.ErrorLog = slog.NewLogLogger(a.node.log.Handler(), slog.LevelDebug)
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				failed <- err
			}
		}()
	}
	var err error
	select {
	case <-ctx.Done():
		a.node.log.Info("draining")
	case <-background.Done():
	case err = <-failed:
	}
	a.draining.Store(true)
	a.api.Drain()
	deadline, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	for server := range servers {
		if shutdown := server.Shutdown(deadline); shutdown != nil {
			a.node.log.Warn("requests were cut off", "error", shutdown)
		}
	}
	return err
}
