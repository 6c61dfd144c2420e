# make run    build and serve on ws://127.0.0.1:7447, data in ./data
# make test   every test, with the race detector, and the web client in a browser
# make check  gofmt, vet, staticcheck, golangci-lint, govulncheck
# make fuzz   each fuzz target for a minute (FUZZTIME=10s for less)
# make bench  the benchmarks of BENCHMARKS.md, beside other relays
# make build  bin/agora
# make models the built-in rankers again: some minutes, and Python 3.11
# make spam-check fit the spam classifier's behaviour head again and compare: a minute or two
# make ballots the ballots that benchmarks vote with: most of an hour

GO   ?= go
TAGS := libsecp256k1
# seconds, m or h for each fuzz target
FUZZTIME ?= 60s
# what tests and checks look at
PKGS ?= ./...

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.8.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.1.4

# libsecp256k1 and LMDB are C, compiled by gcc on the way
export CGO_ENABLED := 1

.PHONY: spam-check ballots run build test test-prover test-go test-node test-web web check bench fuzz tools models clean onnxruntime test-webgpu

run: build
	@echo "starting the relay; Ctrl-C stops it"
	@./bin/agora serve

build: tools
	@$(MAKE) -s --no-print-directory onnxruntime || echo "without $(ORT): models will not run, all else does; make onnxruntime tries again" >&2
	@$(MAKE) -s --no-print-directory web || echo "without the web client: the relay's address shows its landing page; make web tries again" >&2
	@echo "building bin/agora (the first time also fetches and compiles what it needs: some minutes)"
	@$(GO) build -tags $(TAGS) -o bin/agora ./cmd/agora

test: test-go test-node test-web test-webgpu

test-go: tools onnxruntime
	@GO="$(GO)" ./.ci/tools strace
	$(GO) test -race -tags $(TAGS) -timeout 30m $(PKGS)

# the same relay through the library most web clients use
test-node: build
	@if [ -f test/nostr-tools/package.json ]; then \
		echo "nostr-tools against bin/agora"; \
		cd test/nostr-tools && npm ci --ignore-scripts --no-audit --no-fund && npm test; \
	fi
	@echo "proofs of personhood in Semaphore's own JavaScript library"
	@cd test/semaphore && npm ci --ignore-scripts --no-audit --no-fund && npm test
	@echo "a poll asked and counted in TypeScript"
	@cd cmd/example && npm ci --ignore-scripts --no-audit --no-fund && npm test

# the prover as WebAssembly, in a worker of Debian's chromium
test-prover: tools
	@./.ci/tools chromium
	@cd test/semaphore && GO="$(GO)" npm run browser

# models on a GPU's path, through Mesa's software Vulkan where Debian gives it
test-webgpu: tools onnxruntime
	@GO="$(GO)" ./.ci/webgpu-test

# the web client in Debian's chromium, against bin/agora with the real events; screenshots go to test/web/shots
test-web: tools web build
	@[ -n "$$CHROMIUM" ] || ./.ci/tools chromium
	@echo "the web client against bin/agora"
	@cd web && npm test
	@cd test/web && npm ci --ignore-scripts && npm test

# the web client, which bin/agora embeds
web: web/dist/app/index.html

web/dist/app/index.html: web/node_modules/.package-lock.json $(shell find web/src web/public web/*.js web/*.json web/index.html -type f)
	@echo "building the web client"
	@cd web && npm run build

web/node_modules/.package-lock.json: web/package-lock.json
	@cd web && npm ci --ignore-scripts

check: tools
	@echo "gofmt"; out=$$(gofmt -l $$(git ls-files '*.go')); \
		if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi
	@echo "vet"; $(GO) vet -tags $(TAGS) $(PKGS)
	@echo "vet, pure Go build"; $(GO) vet $(PKGS)
	@echo "staticcheck"; $(GO) run $(STATICCHECK) -tags $(TAGS) $(PKGS)
	@echo "golangci-lint"; $(GO) run $(GOLANGCI) run --build-tags $(TAGS) $(PKGS)
	@echo "govulncheck"; if $(GO) run $(GOVULNCHECK) -version >/dev/null 2>&1 && \
		curl -fsS --max-time 10 -o /dev/null https://vuln.go.dev/index/db.json 2>/dev/null; then \
			$(GO) run $(GOVULNCHECK) -tags $(TAGS) $(PKGS); \
		else echo "govulncheck left out: https://vuln.go.dev cannot be reached from here"; fi

spam-check: tools
	$(GO) run -tags $(TAGS) ./cmd/agora spam train --check

# 10,200 ballots with real proofs, in testdata/ballots: about 45 minutes of CPU; it goes on where it was
# stopped. BALLOTS=500 makes fewer
BALLOTS ?= 10200
ballots: tools
	@mkdir -p bin
	$(GO) build -tags $(TAGS) -o bin/simulate ./cmd/simulate
	./bin/simulate ballots --work bin/ballots.jsonl --most $(BALLOTS) --pack testdata/ballots

# BENCHFLAGS=--quick for two minutes
bench: build
	@echo "building the rival, as its README says and once more with the C signature check"
	cd cmd/bench/peers && $(GO) build -o ../../../bin/khatru ./khatru && $(GO) build -tags $(TAGS) -o ../../../bin/khatru-c ./khatru
	$(GO) build -tags $(TAGS) -o bin/bench ./cmd/bench
	./bin/bench run --khatru bin/khatru --khatru-c bin/khatru-c --markdown BENCHMARKS.md --json bin/bench.json $(BENCHFLAGS)

# go test fuzzes one target of one package at a time
fuzz: tools
	@set -e; for pkg in $$($(GO) list -tags $(TAGS) $(PKGS)); do \
		for target in $$($(GO) test -tags $(TAGS) -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$target for $(FUZZTIME)"; \
			$(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

# the library that runs models, out of npm's onnxruntime-node; its sha512 is in the lock file
ORT     := libonnxruntime.so.1
ORTARCH := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x64)

onnxruntime: bin/$(ORT)

bin/$(ORT): ranker/onnx/lib/package-lock.json
	@echo "fetching $(ORT) (110 MB, once)"
	@cd ranker/onnx/lib && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@mkdir -p bin && cp ranker/onnx/lib/node_modules/onnxruntime-node/bin/napi-v6/linux/$(ORTARCH)/$(ORT) bin/$(ORT).new
	@mv bin/$(ORT).new $@ && rm -rf ranker/onnx/lib/node_modules

# says what is missing, and installs the small things that tests need
tools:
	@GO="$(GO)" ./.ci/tools

clean:
	rm -rf bin

# one thread and one kind of kernels, for the sake of the same bytes
KIT := PYTHONHASHSEED=0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OPENBLAS_CORETYPE=HASWELL ../../bin/kit/bin/python -B -m agora_kit

models:
	python3 -m venv bin/kit
	bin/kit/bin/pip install --quiet --no-deps -r ranker/kit/requirements.txt
	@mkdir -p bin/rows
	@echo "texts"; $(GO) run ./cmd/simulate tokens > bin/rows/tokens.jsonl
	@echo "the text encoder"; cd ranker/kit && $(KIT).encoder ../../bin/rows/tokens.jsonl ../builtin/encoder.bin
	@echo "two crowds"; $(GO) run ./cmd/simulate rows --out bin/rows
	@echo "training"; cd ranker/kit && $(KIT).build ../builtin --rows ../../bin/rows
	@sed -n 's/.*"sha256": "\(.*\)".*/\1/p' ranker/builtin/rankers.json
