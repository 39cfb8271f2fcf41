# Each target does its own set-up and can be repeated.  PYTHON names the interpreter that the environment is built with.
PYTHON ?= python3
BIN := .venv/bin
CORE := .venv/.core
DEV := .venv/.dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: demo test test-slow test-clients check bench gpu docs site clean help
help:
	@echo "make demo       corpus, tokenizer, pre-training, fine-tuning and a report, from this machine's own documentation"
	@echo "make test       the test suite"
	@echo "make test-slow  the tests that take minutes"
	@echo "make test-clients  exports opened by transformers 4 and 5, sentence-transformers, flair and others, each in an environment of its own"
	@echo "make check      format, lint, types, and that imports point down"
	@echo "make bench      speed beside transformers and the tokenizers library; writes bench/results and the tables"
	@echo "make gpu        tests and speed on a GPU, in 8 minutes; GPU_PYTHON=… an environment that is there, GPU_WHEELS=DIR, GPU_OUT=DIR"
	@echo "make docs       writes docs/family.md from the recipes"
	@echo "make site       the guides, commands and Python verbs as pages below site/"
	@echo "make clean      removes the environment and caches"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "bertsmith needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv .venv

# The date of a stamp is the date of an installation that ended well.
$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing bertsmith into .venv"
	@start=$$(date +%s) && $(PIP) install -qq -c constraints.txt -e . && echo $$(( $$(date +%s) - start )) > $@ && echo "installed in $$(cat $@) s"

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing bertsmith and its test tools into .venv"
	@start=$$(date +%s) && $(PIP) install -qq -c constraints.txt -e '.[dev]' && echo $$(( $$(date +%s) - start )) > $@ && echo "installed in $$(cat $@) s"

demo: $(CORE)
	@$(BIN)/python -m bertsmith.downstream.demo --out demo --force
	@echo "installation took $$(cat $(CORE)) s"

test: $(DEV)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not gpu"

test-slow: $(DEV)
	@$(BIN)/python -m pytest -q -m slow --timeout 1800

# Environments are kept below .clients (some GB); CLIENTS="--only flair peft" asks some alone.  Writes the table of docs/exchange.md.
test-clients: $(DEV)
	@PYTHONPATH=. $(BIN)/python tests/clients/run.py $(CLIENTS)

check: $(DEV)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_layers.py

bench: $(DEV)
	@$(BIN)/python bench/step.py
	@$(BIN)/python bench/embed.py
	@$(BIN)/python bench/memory.py
	@$(BIN)/python bench/shape.py
	@$(BIN)/python bench/plan.py
	@$(BIN)/python bench/data.py
	@$(BIN)/python bench/prepare.py
	@$(BIN)/python bench/table.py --check; $(BIN)/python bench/table.py

# GPU_PYTHON: an interpreter that has torch with CUDA, transformers and what we need, taken as it is; GPU_WHEELS: a folder of the wheels
# that it lacks; GPU_OUT: a folder that gets the results, too; GPU_ARGS: further options of bench/gpu.py.
gpu: $(if $(GPU_PYTHON),,$(DEV))
	@$(if $(GPU_WHEELS),$(or $(GPU_PYTHON),$(BIN)/python) -m pip --disable-pip-version-check --no-input install -q --upgrade --no-index --no-deps --target $(GPU_WHEELS)/site $(GPU_WHEELS)/*.whl)
	@PYTHONPATH=src$(if $(GPU_WHEELS),:$(abspath $(GPU_WHEELS))/site) $(or $(GPU_PYTHON),$(BIN)/python) bench/gpu.py $(if $(GPU_OUT),--out $(GPU_OUT)) $(GPU_ARGS)

docs: $(DEV)
	@$(BIN)/python -m bertsmith.downstream.family docs/family.md

# A link that leads nowhere ends it.
site: $(DEV)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q
	@echo "site/index.html"

clean:
	rm -rf .venv .clients demo site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
