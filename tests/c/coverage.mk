# What the kept corpora and all that fuzzing found reach of our C: make -C tests/c -f coverage.mk
# Entries built by clang with its coverage, run once on every input; the table is build/cov/report.
FLAGS := -fprofile-instr-generate -fcoverage-mapping
ENTRIES := $(patsubst fuzz_%.c,%,$(wildcard fuzz_*.c))
COV := build/cov
KEM := build/mceliece-cov
KEM_VECTORS := build/mceliece_vectors.txt
TESTS := (^|/)(fuzz_[a-z]+|replay|harness|packets|plane|mceliece_fuzz|vectors|fuzz|mceliece_reference)[.][ch]$$

report:
	@$(MAKE) -s VARIANT=cov CC=clang SANITIZE='$(FLAGS)' $(ENTRIES:%=$(COV)/replay_%)
	@$(MAKE) -s -C mceliece VARIANT=cov CC=clang SANITIZE='$(FLAGS)' OPTIMIZE=-O1 ../$(KEM)/mceliece_fuzz ../$(KEM_VECTORS)
	@rm -f $(COV)/*.profraw
	@for entry in $(ENTRIES); do \
	    find corpus/$$entry build/fuzz/corpus/$$entry -type f 2>/dev/null | \
	        LLVM_PROFILE_FILE=$(COV)/$$entry-%p.profraw xargs -n 1000 $(COV)/replay_$$entry >/dev/null || exit 1; \
	done
	@find mceliece/corpus build/mceliece-fuzz/found -type f 2>/dev/null | WGPY_MCELIECE_VECTORS=$(KEM_VECTORS) \
	    LLVM_PROFILE_FILE=$(COV)/mceliece-%p.profraw xargs -n 500 $(KEM)/mceliece_fuzz >/dev/null
	@llvm-profdata merge -o $(COV)/all.profdata $(COV)/*.profraw
	@llvm-cov report $(KEM)/mceliece_fuzz $(ENTRIES:%=-object $(COV)/replay_%) -instr-profile=$(COV)/all.profdata \
	    -ignore-filename-regex='$(TESTS)' >$(COV)/report
	@echo "lines reached of each file, and of all:"
	@awk '$$8 > 0 {name = $$1; sub(/^[.\/]*/, "", name); printf "%-44s %6s\n", name, $$10}' $(COV)/report
.PHONY: report
