package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/eventstore/sealing"
)

// addSealer seals the log where it is projected.
func (a *app) addSealer(ctx context.Context, cfg Config) error {
	if !cfg.has("projector") {
		return nil
	}
	signer, err := chainSigner(ctx, a.node.keys)
	if err != nil {
		return err
	}
	a.parts = append(a.parts, chain.NewSealer(a.node.pool, a.node.log, signer, a.publishHead(cfg)).Run)
	return nil
}

// chainSigner returns what signs the chain's heads.
func chainSigner(ctx context.Context, keys *sealing.Keys) (*chain.Signer, error) {
	secret, err := keys.Secret(ctx, "chain")
	if err != nil {
		return nil, err
	}
	return chain.NewSigner(secret)
}

// publishHead returns what takes the chain's heads out of the database: into the log, which is shipped elsewhere, or in
// development mode into a file.
func (a *app) publishHead(cfg Config) func(chain.Head) {
	return func(h chain.Head) {
		if !cfg.development() {
			a.node.log.Info("chain head", "chain_head", h)
			return
		}
		if err := appendHead(filepath.Join(cfg.DataDir, "heads.ndjson"), h); err != nil {
			a.node.log.Warn("chain head not written", "block", h.Block, "error", err)
		}
	}
}

// appendHead adds a line to the file, in one write, so that several processes may share it.
func appendHead(path string, h chain.Head) error {
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode head: %w", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
