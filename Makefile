# cairn. "make help" lists the targets.

GO      ?= go
PREFIX  ?= $(HOME)/.local
FUZZTIME ?= 30s
RUN     ?= .

export CGO_ENABLED ?= 0
export GOTOOLCHAIN ?= auto

SOURCES := $(shell find . -name '*.go' -not -name '*_test.go' -not -path './.*' -not -path './tools/*') go.mod go.sum

.DEFAULT_GOAL := cairn
.PHONY: help demo test unit e2e check generate race golden fuzz bench bench-packages install clean

cairn: $(SOURCES) ## build ./cairn, a static binary
	$(GO) build -trimpath -buildvcs=false -ldflags '-s -w' -o $@ .

demo: cairn ## build and run the example image; the second build is all CACHED
	@examples/demo.sh

test: cairn ## all tests, as you, root or not; skips what this machine lacks and says so
	@status=0; for part in unit e2e; do $(MAKE) --no-print-directory $$part || status=1; done; exit $$status

unit: ## only the tests of the packages and the architecture
	@$(GO) test -buildvcs=false $$($(GO) list ./... | grep -v '/tests$$')

e2e: cairn ## only the built program from outside (RUN=regexp chooses)
	cd tests && CAIRN_BIN=$(CURDIR)/cairn CAIRN_E2E_RUN='$(RUN)' $(GO) test -buildvcs=false -count=1 -timeout 30m

check: ## format, vet, architecture, generated files, dead code: what CI looks at first
	@! gofmt -l $$(find . -name "*.go" -not -path "*/.*") 2>&1 | grep . || { echo "not gofmt'ed"; exit 1; }
	$(GO) vet ./...
	$(GO) -C tools vet ./...
	$(GO) test -buildvcs=false -count=1 .
	$(GO) -C tools test -buildvcs=false ./...
	$(GO) -C tools run -buildvcs=false ./seccomp-profile -check ../sandbox/internal/seccomp/profile
	tools/dead.sh

generate: ## write the generated files anew
	$(GO) generate ./...

race: ## unit tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -buildvcs=false -race $$($(GO) list ./... | grep -v '/tests$$')

golden: ## write the golden files anew; read the diff afterwards
	UPDATE=1 $(GO) test -buildvcs=false -count=1 $$($(GO) list ./... | grep -v '/tests$$')
	git diff --stat

fuzz: ## every fuzz target for FUZZTIME (30s)
	tests/fuzz.sh $(FUZZTIME)

bench: cairn ## whole builds beside buildah and plain tools, in ratios (BENCH="-quick=false -only copy" for more)
	$(GO) run -buildvcs=false ./bench -quick -cairn ./cairn $(BENCH)

bench-packages: ## benchmarks of the packages
	$(GO) test -buildvcs=false -run '^$$' -bench . -benchmem $$($(GO) list ./... | grep -v '/tests$$')

install: cairn ## copy cairn to PREFIX/bin (~/.local)
	install -D -m 755 cairn $(DESTDIR)$(PREFIX)/bin/cairn

clean: ## remove what make made
	rm -f cairn

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
