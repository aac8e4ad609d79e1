package main

import (
	"testing"

	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
