# What the checks and benchmarks cover, and how: make test PKG=./commands/... TESTFLAGS='-run Archived -v'
PKG       ?= ./...
TESTFLAGS ?=
BENCH     ?= .
BENCHTIME ?= 1s

VERSION     := $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
# The version is stamped here and not by go, which builds nothing in a clone that git distrusts (another owner's, for root).
export GOFLAGS := $(shell go env GOFLAGS 2>/dev/null) -buildvcs=false
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.7.0

.DEFAULT_GOAL := help
.PHONY: help run build test lint bench golden clean go postgres

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: go postgres build ## build Atlas and serve in the foreground, with a PostgreSQL of its own unless ATLAS_DATABASE_URL names one
	@exec bin/atlas serve
run: has_database = [ -n "$$ATLAS_DATABASE_URL" ] ||

build: go ## build bin/atlas
	go build -ldflags '-X main.version=$(VERSION)' -o bin/atlas ./cmd/atlas

# The tests of what they name drive whole processes, which are built as they are shipped: the race detector would watch the
# tests alone. What those processes do has tests of its own beside it.
DRIVING := /(cmd/atlas|internal/recipe)$$

test: go postgres ## run the tests, most with the race detector where there is a C compiler: PKG=./… TESTFLAGS='-run …'
	@race=-race; \
	[ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null || \
		{ race=; echo 'no C compiler: testing without the race detector' >&2; }; \
	packages=$$(go list $(PKG)) || exit; \
	driving=$$(echo "$$packages" | grep -E '$(DRIVING)'); \
	others=$$(echo "$$packages" | grep -vE '$(DRIVING)'); \
	status=0; \
	if [ -n "$$driving" ]; then (set -x; go test $(TESTFLAGS) $$driving) || status=1; fi; \
	if [ -n "$$others" ]; then (set -x; go test $$race $(TESTFLAGS) $$others) || status=1; fi; \
	exit $$status

lint: go ## check the format, go vet and staticcheck
	@unformatted=$$(find . -path './.?*' -prune -o -name '*.go' -exec gofmt -l {} +) && [ -z "$$unformatted" ] || \
		{ echo "not gofmt'd:" $$unformatted >&2; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...

bench: go postgres ## run the benchmarks: PKG=./… BENCH=Append BENCHTIME=3s
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -timeout 20m $(PKG)

golden: go postgres ## write the golden files anew, in each package whose tests take -update
	@golden=$$(grep -rlE --include='*_test.go' 'flag\.Bool(Var)?\(.*"update"' . | sed 's|/[^/]*$$||' | sort -u); \
	[ -n "$$golden" ] || { echo 'no test takes -update' >&2; exit 1; }; \
	set -x; go test -count=1 -run Golden $$golden -update

clean: ## remove what was built; the data in .atlas stays
	rm -rf bin

go:
	@case "$$(go env GOVERSION 2>/dev/null | sed -n 's/.*go1\.\([0-9]*\).*/\1/p')" in \
	2[6-9]|[3-9][0-9]) ;; \
	*) echo "Atlas needs Go 1.26 or newer, and found $$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || echo none): see https://go.dev/dl/" >&2; exit 2 ;; \
	esac

postgres:
	@$(has_database) deploy/install-postgres
