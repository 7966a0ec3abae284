# Each target sets up what it needs in .venv; nothing else on the machine is touched but the browser of `make browser`.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
# On a machine with few cores, torch's threads should sleep, not spin, while they wait.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-fast lint format browser clean

demo: $(VENV)/run
	$(BIN)/python space_app.py

# Two workers, a file each at a time, so that the whole suite takes minutes; one thread each, so that they do not crowd.
test: $(VENV)/dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-fast: $(VENV)/dev
	$(BIN)/python -m pytest -m "not slow and not browser"

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Debian's browser for the tests of the Space; where it cannot be had, those tests skip and say so.
browser:
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium) \
		|| echo "chromium is not installed and could not be: browser tests will be skipped"

$(VENV)/run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/dev: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
