PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 1
JOBS ?= 2
REPORT ?= report

# bytecode of the packages is written when they are first imported, which is sooner done than compiling all of them
export PYTHONDONTWRITEBYTECODE :=

# folders and files whose tests compare numbers
NUMERICAL := tests/clip tests/trainers tests/promptshift/adapting tests/promptshift/bases tests/promptshift/modeling \
	tests/dassl/test_dassl_ops.py tests/dassl/test_dassl_optim.py tests/dassl/test_third_party_trainers.py
ELSEWHERE := ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX512_CORE ONEDNN_MAX_CPU_ISA=AVX512_CORE_AMX \
	ATEN_CPU_CAPABILITY=default GOLDEN_SEED_SHIFT=1 GOLDEN_SEED_SHIFT=2

.PHONY: install demo demo-small report test test-isa lint bench clean-venv

install: $(VENV)/.installed

# the stamp is made last, so that an interrupted installation is taken up again
$(VENV)/.installed: setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile --quiet -e ".[test]"
	touch $@

# the whole DPSPG leave-one-domain-out protocol on the embedded world, ending in a table
demo: install
	SEEDS="$(SEEDS)" JOBS=$(JOBS) bash scripts/dpspg/main.sh mini

# the same at its smallest: one epoch of everything
demo-small: install
	SEEDS=1 JOBS=$(JOBS) bash scripts/dpspg/main.sh mini OPTIM.MAX_EPOCH 1 TRAINER.DPSPG.LABELS.MAX_EPOCH 1

# tables, tests and figures of everything below OUTPUT, on one page: report/index.html
report: install
	$(BIN)/python -m promptshift report $(OUTPUT) --out $(REPORT)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

# the numerical tests under other instruction sets, and with other weights and inputs
test-isa: install
	set -e; for setting in $(ELSEWHERE); do echo "$$setting"; \
		env $$setting OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 $(NUMERICAL); done

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: install
	$(BIN)/python -m benchmarks

clean-venv:
	rm -rf $(VENV)
