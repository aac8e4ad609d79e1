package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/auth"
)

// masterKey returns the key that personal data is sealed under.
func (c Config) masterKey() (*sealing.Master, error) {
	text, err := c.keyText(masterKeyName, c.MasterKey, "master", sealing.GenerateMaster)
	if err != nil {
		return nil, err
	}
	return sealing.ParseMaster(text)
}

// signingSeeds returns the keys to sign access tokens with that this process was given.
func (c Config) signingSeeds() ([]auth.Seed, error) {
	text, err := c.keyText("ATLAS_SIGNING_KEYS", c.SigningKeys, "signing", func() string { return auth.GenerateSeed().Reveal() })
	if err != nil {
		return nil, err
	}
	return auth.ParseSeeds(text)
}

// keyText returns a key that is set, or, in development mode, the one in the data directory, which is made when it is
// first needed.
func (c Config) keyText(setting string, set auth.Secret, name string, generate func() string) (string, error) {
	if set != "" {
		return set.Reveal(), nil
	}
	if faults := c.missing([]string{setting}); faults != nil {
		return "", usageError{faults[0]}
	}
	dir := filepath.Join(c.DataDir, "keys")
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path, generate())
	}
	if err != nil {
		return "", fmt.Errorf("read development key: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// makeKey writes a new key, whole or not at all, unless another process has been faster.
func makeKey(path, key string) (string, error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name())
	if _, err := temp.WriteString(key + "\n"); err != nil {
		return "", err
	}
	if err := errors.Join(temp.Sync(), temp.Close()); err != nil {
		return "", err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}
