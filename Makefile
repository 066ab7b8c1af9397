# Commands for people and for CI. `make demo` shows gitpeer at work, `make test`
# runs the tests; both need only Go, git and make, and install or name the rest.

GO      ?= go
REPO    ?= .
FUZZTIME ?= 1m
BENCH   ?= .

# The product is pure Go: one static binary, the same on every machine. The race
# detector needs cgo; the tags keep the C libraries of the torrent client out.
BUILD   = CGO_ENABLED=0 $(GO) build -trimpath
RACE    = CGO_ENABLED=1 $(GO) test -race -tags disable_libutp,nosqlite

# What checks the code, at versions that were tried. They are no dependencies of
# gitpeer, so they are not in go.mod.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.1.4

.PHONY: build install demo test check fmt vet lint vuln race tidy fuzz bench bench-programs histories interop soak clean

build:
	$(BUILD) -o bin/ ./cmd/gitpeer ./cmd/git-remote-gitpeer

PREFIX ?= /usr/local
install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install bin/gitpeer bin/git-remote-gitpeer $(DESTDIR)$(PREFIX)/bin

demo: build
	docs/demo.sh $(REPO)

test:
	CGO_ENABLED=0 $(GO) test -parallel 8 ./...

check: fmt vet lint vuln race tidy

fmt:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt -w:"; echo "$$out"; exit 1; fi

vet:
	CGO_ENABLED=0 $(GO) vet ./...

lint:
	CGO_ENABLED=0 $(GO) run $(STATICCHECK) ./...

# The list of known vulnerabilities is on the network; where it, or the tool,
# cannot be had, that is said and is no failure. A finding is one.
vuln:
	@CGO_ENABLED=0 $(GO) run $(GOVULNCHECK) ./... >vuln.out 2>&1; status=$$?; \
	if grep -Eq 'vuln.go.dev|Forbidden|no such host|dial tcp|not available' vuln.out && ! grep -q '^Vulnerability #' vuln.out; then \
		echo "govulncheck: its list cannot be reached from here; skipped"; rm -f vuln.out; \
	else cat vuln.out; rm -f vuln.out; exit $$status; fi

race:
	$(RACE) -parallel 8 ./...

tidy:
	$(GO) mod tidy -diff

# Each fuzz target for FUZZTIME.
fuzz:
	@set -e; for dir in $$(grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -rhoE '^func (Fuzz[A-Za-z0-9_]+)' $$dir/*_test.go | sed 's/func //'); do \
			echo "$$dir $$target"; CGO_ENABLED=0 $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
		done; \
	done

bench:
	@if [ -n "$(REPOS)" ]; then $(MAKE) bench-programs; else \
		CGO_ENABLED=0 $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -cpu 1,2 -timeout 30m ./... && \
		echo 'whole programs beside git daemon and libtorrent, over links: make bench REPOS="medium=DIR git=DIR"'; fi

# gitpeer beside git daemon and libtorrent, as users run them: docs/bench has the
# results, and notes.md there says what takes how long. REPOS are bare
# repositories, as NAME=DIR. RESUME=1 takes no sample again that raw.txt has;
# STAGE is a folder that keeps what Fetch begins with, BEHIND how far it goes.
ROUNDS ?= 5
ONLY   ?= .
BEHIND ?= 100
bench-programs: build
	@test -n "$(REPOS)" || { echo 'make bench-programs REPOS="medium=DIR git=DIR" [ROUNDS=n] [ONLY=regexp] [RESUME=1] [STAGE=DIR] [BEHIND=n]'; exit 2; }
	@need=; for p in ip:iproute2 ethtool:ethtool; do command -v $${p%:*} >/dev/null || need="$$need $${p#*:}"; done; \
	/usr/bin/python3 -c 'import libtorrent' 2>/dev/null || need="$$need python3-libtorrent"; \
	if [ -n "$$need" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq $$need; \
		else echo "missing:$$need"; fi; fi
	$(BUILD) -o bin/ ./cmd/internal/bench
	bin/bench -bin bin -rounds $(ROUNDS) -only '$(ONLY)' $(if $(RESUME),-resume) $(if $(STAGE),-stage $(STAGE)) -behind $(BEHIND) $(addprefix -repo ,$(REPOS))

# The policy engine on histories that others wrote, against git: DIR is a folder
# of bare repositories, NAME.git or OWNER+NAME/repo. SAMPLE is how many accepted
# commits of each git is asked about. docs/histories.md has results.
SAMPLE ?= 1000
histories:
	@test -n "$(DIR)" || { echo "make histories DIR=<folder of bare repositories> [SAMPLE=n]"; exit 2; }
	CGO_ENABLED=0 GITPEER_HISTORIES="$(abspath $(DIR))" GITPEER_HISTORIES_SAMPLE=$(SAMPLE) \
		$(GO) test -count 1 -timeout 0 -v -run 'TestHistories(Speed)?$$' ./trust

# Against the programs of others: libtorrent, transmission, aria2 and npm's
# bittorrent-dht (if npm is there); and through NATs and far away, which needs root, and nft. What is
# missing is installed where that may be, and named otherwise.
interop:
	@need=; /usr/bin/python3 -c 'import libtorrent' 2>/dev/null || need="$$need python3-libtorrent"; \
	command -v aria2c >/dev/null || need="$$need aria2"; command -v transmission-cli >/dev/null || need="$$need transmission-cli"; \
	if [ -n "$$need" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq $$need; \
		else echo "missing:$$need; their tests are skipped"; fi; fi
	CGO_ENABLED=0 $(GO) test -tags interop -count=1 -run 'Libtorrent|NAT|FetchTrips' -v ./testnet
	CGO_ENABLED=0 $(GO) test -tags interop -count=1 -run Interop -v ./swarm ./cmd/internal/node

# Nodes that are killed -9 at random points while they publish and fetch.
SOAKTIME ?= 5m
soak:
	CGO_ENABLED=0 $(GO) test -tags soak -count=1 -run Soak -v -timeout 24h ./cmd/gitpeer -soak $(SOAKTIME)

# A repository of many small objects, published and cloned: what the nodes take, and
# whether the index is git's. Ten million take 5 GB of the disk.
OBJECTS ?= 1000000
COMMITS ?= 25000
.PHONY: large
large:
	CGO_ENABLED=0 $(GO) test -tags soak -count=1 -run Large -v -timeout 3h ./cmd/gitpeer -objects $(OBJECTS) -commits $(COMMITS)

# A thousand publications, and readers who are 1 to 1000 behind: bytes and packs
# beside native git's, and the disk. About half an hour, most of it the DHT's.
.PHONY: publications
publications:
	CGO_ENABLED=0 $(GO) test -tags soak -count=1 -run ThousandPublications -v -timeout 3h ./cmd/internal/node

clean:
	rm -rf bin dist

