# Two commands matter to a newcomer: `make demo` and `make test`. Everything installs what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

APT_BUILD := gcc make pkg-config libc6-dev python3-dev python3-venv libssl-dev
APT_RUN := libseccomp2 wireguard-tools iproute2 iperf3 nftables iputils-ping procps tcpdump
APT_TEST := wireguard-go ethtool conntrack podman crun iptables
APT_PEERS := cmake clang libclang-dev libsodium-dev
APT_X86 := libipsec-mb-dev
APT_CHECK := clang libclang-rt-dev clang-tidy valgrind


.PHONY: fuzz fuzz-c fuzz-python fuzz-coverage races simulation hybrid-evidence build deps test unit netns lint fmt check-c tidy peers interop bench chart bench-workers bench-peers bench-control bench-flood instructions demo clean soak kill-rounds

build: $(VENV)/.built

deps:
	@packaging/apt-install $(APT_BUILD) $(APT_RUN)
	@packaging/apt-install --optional $(APT_X86)

$(VENV)/.deps: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "wgpy needs Python 3.11 or later, as Debian 12 and Ubuntu 24.04 have; make PYTHON=... names another" >&2; exit 1; }
	$(MAKE) deps
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip setuptools wheel cffi
	touch $@

# Editable: the three packages stay in the tree, the extensions are built in place.
$(VENV)/.built: $(VENV)/.deps setup.py $(wildcard */ffi_build.py */csrc/*.[ch])
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[dev]'
	$(BIN)/python -m compileall -q wgpy rosenpass tun  # who may not write here would compile at every start
	touch $@

test: build unit netns

unit: build
	$(BIN)/python -m pytest -q -n 2 tests

# Time is part of what these test, and the machine is seldom ours alone: what fails is run once more, and said.
# Most wait, so four run at once; two of those that are heavy; one of those that fill the processors.
NETNS := $(BIN)/python -m pytest -q netns-tests --reruns 1 --durations=10 --durations-min=10 --dist worksteal
netns: build
	@packaging/apt-install $(APT_TEST)
	WGPY_REQUIRE_NETNS=1 $(NETNS) -n 4 -m "not interop and not slow and not heavy and not alone"
	WGPY_REQUIRE_NETNS=1 $(NETNS) -n 2 -m "not interop and not slow and heavy"
	WGPY_REQUIRE_NETNS=1 $(NETNS) -n 0 -m "not interop and not slow and alone"

# A random story a seed of two ends on a bad network; a failing seed is printed and can be replayed alone.
SIMULATION_SEEDS ?= 10000
simulation: build
	seq 0 500 $$(($(SIMULATION_SEEDS) - 1)) | WGPY_SIMULATION_SEEDS=500 xargs -P 2 -I{} env WGPY_SIMULATION_FIRST={} \
	    $(BIN)/python -m pytest -q -x tests/wgpy/test_hybrid_simulation.py -k every_story

# What docs/hybrid.md promises, with its figures; the long tests too, some twenty minutes.
hybrid-evidence: build
	@packaging/apt-install $(APT_TEST)
	$(BIN)/python -m pytest -q -s netns-tests/test_hybrid_*.py

# Two ends for an hour under random faults: memory, descriptors, threads and throughput stay as they are.
SOAK_MINUTES ?= 60
soak: build
	@packaging/apt-install $(APT_TEST)
	WGPY_SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest -q -s netns-tests/test_soak.py

# `up` and `down` killed at random moments, again and again: the host is as before each time.
KILL_ROUNDS ?= 200
kill-rounds: build
	@packaging/apt-install $(APT_TEST)
	WGPY_KILL_ROUNDS=$(KILL_ROUNDS) $(BIN)/python -m pytest -q -s netns-tests/test_quick_crash.py -k random_moments

lint: build
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

fmt: build
	$(BIN)/ruff format . && $(BIN)/ruff check --fix . ; clang-format -i */csrc/*.[ch] tests/c/*.c tests/c/mceliece/*.[ch]

# Own C under both compilers' strictest flags, under sanitizers, and fuzzed: about three minutes on two cores.
FUZZ_SECONDS ?= 6
C_TESTS := $(MAKE) -s -j2 -C tests/c
KEM_TESTS := $(MAKE) -s -j2 -C tests/c/mceliece
ASAN := -fsanitize=address,undefined -fno-sanitize-recover=all

check-c:
	@packaging/apt-install $(APT_BUILD) $(APT_CHECK)
	@packaging/apt-install --optional $(APT_X86)
	$(C_TESTS) objects CC=gcc VARIANT=gcc
	$(C_TESTS) objects CC=clang VARIANT=clang
	$(C_TESTS) run CC=clang VARIANT=asan SANITIZE='$(ASAN)'
	$(C_TESTS) run CC=clang VARIANT=tsan SANITIZE=-fsanitize=thread
	$(C_TESTS) fuzz CC=clang VARIANT=fuzz SANITIZE='$(ASAN) -fsanitize=fuzzer-no-link' FUZZ_SECONDS=$(FUZZ_SECONDS)
	$(PYTHON) bench/units/guard.py
	$(KEM_TESTS) run CC=gcc VARIANT=gcc
	$(KEM_TESTS) run CC=clang VARIANT=asan SANITIZE='$(ASAN)'
	$(KEM_TESTS) run CC=clang VARIANT=tsan SANITIZE=-fsanitize=thread
	$(KEM_TESTS) ctgrind
	$(KEM_TESTS) fuzz FUZZ_SECONDS=$(FUZZ_SECONDS)

# Every parser, in C and in Python, under libFuzzer: FUZZ_MINUTES on two cores, then how much of the parsers it reached.
# What is found stays in tests/c/build and build/fuzz; an input that fails ends the run.
FUZZ_MINUTES ?= 60
fuzz: build
	@packaging/apt-install $(APT_BUILD) $(APT_CHECK) llvm
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[dev,fuzz]'
	$(MAKE) -j2 fuzz-c fuzz-python
	$(MAKE) fuzz-coverage

fuzz-c:
	$(MAKE) -s -j1 -C tests/c fuzz CC=clang VARIANT=fuzz SANITIZE='$(ASAN) -fsanitize=fuzzer-no-link' \
	    FUZZ_SECONDS=$$(($(FUZZ_MINUTES) * 60 / 9))
	$(MAKE) -s -j1 -C tests/c/mceliece fuzz FUZZ_SECONDS=$$(($(FUZZ_MINUTES) * 60 / 9))

fuzz-python:
	@set -e; for name in $$($(BIN)/python tests/fuzz/run.py --names); do \
	    $(BIN)/python tests/fuzz/run.py $$name $$(($(FUZZ_MINUTES) * 60 / 14)) || \
	        { echo "FAILED $$name"; tail -30 build/fuzz/$$name.log; exit 1; }; done

fuzz-coverage:
	$(MAKE) -s -C tests/c -f coverage.mk
	$(BIN)/python -m coverage run --rcfile=tests/fuzz/coveragerc tests/fuzz/run.py --replay
	$(BIN)/python -m coverage report --rcfile=tests/fuzz/coveragerc

# Threads that change everything under the workers, for a minute instead of check-c's three seconds; then peers
# that come and go by UAPI under a running wgpyd.
RACE_SECONDS ?= 60
races: build
	@packaging/apt-install $(APT_BUILD) $(APT_CHECK) $(APT_TEST)
	$(C_TESTS) build/tsan/races_test CC=clang VARIANT=tsan SANITIZE=-fsanitize=thread
	WGPY_RACE_SECONDS=$(RACE_SECONDS) tests/c/build/tsan/races_test
	$(C_TESTS) build/asan/races_test CC=clang VARIANT=asan SANITIZE='$(ASAN)'
	WGPY_RACE_SECONDS=$(RACE_SECONDS) tests/c/build/asan/races_test
	WGPY_RACE_SECONDS=$(RACE_SECONDS) $(BIN)/python -m pytest -q -s netns-tests/test_churn.py

# Instructions per packet in our own C, under callgrind, must not grow by more than 5 %: ten seconds, and repeatable.
# What has become dearer on purpose is recorded anew: make instructions RECORD=--record
instructions:
	@packaging/apt-install $(APT_BUILD) $(APT_CHECK)
	@packaging/apt-install --optional $(APT_X86)
	$(PYTHON) bench/units/guard.py $(RECORD)

# Advice, not a gate.
tidy:
	@packaging/apt-install $(APT_CHECK)
	$(C_TESTS) tidy

# The same namespace tests against real peers, built once from their own registries where Go and Cargo are.
PEERS := netns-tests/peers
peers:
	@! command -v cargo >/dev/null || packaging/apt-install --optional $(APT_PEERS)
	$(PEERS)/build-peers

interop: build peers
	@packaging/apt-install $(APT_TEST)
	$(NETNS) -n 4 -m "interop and not slow and not heavy and not alone"
	$(NETNS) -n 2 -m "interop and not slow and heavy"
	$(NETNS) -n 0 -m "interop and not slow and alone"
	test ! -e $(PEERS)/build/lib/liboqs.so || \
	    WGPY_LIBOQS=$(CURDIR)/$(PEERS)/build/lib/liboqs.so $(BIN)/python -m pytest -q tests/rosenpass/test_kem.py
	test ! -e $(PEERS)/build/lib/liboqs.so || \
	    OQS_INSTALL_PATH=$(CURDIR)/$(PEERS)/build $(BIN)/python -m pytest -q tests/rosenpass/test_kem.py tests/rosenpass/test_liboqs.py

# Beside the newest wireguard-go, in turns: half an hour on a quiet machine; the table alone in two minutes: make bench BENCH=--quick
# Each prints least, median and most, and the ratio of each pair; every value is in bench/out.
IS_QUICK = $(findstring --quick,$(BENCH))
bench: build chart-library
	@packaging/apt-install ethtool
	$(PEERS)/build-peers wireguard-go $$([ -n "$(IS_QUICK)" ] || ! command -v cargo >/dev/null || echo boringtun-cli)
	$(BIN)/python bench/run.py $(BENCH)
	-$(BIN)/python bench/chart.py
	$(if $(IS_QUICK),,$(BIN)/python bench/limits.py)
	$(if $(IS_QUICK),,$(BIN)/python bench/kem.py)
	$(if $(IS_QUICK),,$(BIN)/python bench/exchange.py)

# matplotlib is wanted by nothing else; without it there is no picture.
.PHONY: chart-library
chart-library: build
	@$(BIN)/python -c 'import matplotlib' 2>/dev/null || $(BIN)/python -m pip install -q 'matplotlib>=3.8' || true

# The picture of the README, of the newest run.
chart: build chart-library
	$(BIN)/python bench/chart.py docs/speed.png

# What a second pair of workers costs where there are no processors for it.
bench-workers: build
	@packaging/apt-install ethtool
	$(BIN)/python bench/run.py --contestants wgpy+WGPY_WORKERS=2,wgpy+WGPY_WORKERS=1 --rounds 5 --seconds 6 \
	    --only "TCP, one stream" --only "TCP, four streams" $(WORKERS)

# Ten thousand peers, handshakes, the start, and five hundred peers after a restart: five minutes.
bench-peers: build
	$(PEERS)/build-peers wireguard-go
	$(BIN)/python bench/start.py
	$(BIN)/python bench/peers.py
	$(BIN)/python bench/handshakes.py
	WGPY_STORM_RESTARTS=5 $(BIN)/python -m pytest -q -s netns-tests/test_reconnect_storm.py

# 200 exchanges a minute beside one busy tunnel: five minutes.
bench-control: build
	$(BIN)/python bench/control.py $(CONTROL)

# A tunnel under floods of every kind, beside wireguard-go under the same: some seven minutes a round, three rounds.
bench-flood: build
	@packaging/apt-install ethtool
	$(PEERS)/build-peers wireguard-go
	$(BIN)/python bench/flood.py $(FLOOD)

demo: build
	@$(BIN)/python bench/demo.py

clean:
	rm -rf build dist *.egg-info tun/*.so rosenpass/*.so tests/c/build bench/out
