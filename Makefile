# Each target sets up what it needs in .venv; nothing else on the machine is touched but the browser of `make browser`.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
# On a machine with few cores, torch's threads should sleep, not spin, while they wait.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-rounding test-fast attack lint format check-wheel browser clean

demo: $(VENV)/run
	$(BIN)/python space_app.py

# Three workers keep two cores busy, since many tests wait: for a browser, a server, another process. One file each at a
# time, the long ones first (tests/conftest.py); one thread each, so that they do not crowd.
WORKERS ?= 3
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test: $(VENV)/dev browser
	$(PYTEST)

# With the instructions of an older CPU alone, which rounds differently: no test may depend on it.
test-rounding: $(VENV)/dev
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Nehalem \
		$(PYTEST) -m "not browser"

test-fast: $(VENV)/dev
	$(BIN)/python -m pytest -m "not slow and not browser"

# Damaged files, killed processes, full disks and hostile requests; `ATTACK="--only kills --seed 7"` repeats one try.
attack: $(VENV)/dev
	$(BIN)/python tests/attack/campaign.py $(ATTACK)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The wheel without extras in a fresh environment: README's first example must run there.
check-wheel:
	rm -rf dist $(VENV)-wheel
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet dist/*.whl
	$(VENV)-wheel/bin/python .ci/check_wheel.py
	rm -rf $(VENV)-wheel

# Debian's browser without a window for the tests of the Space, which takes half the time of a whole Chromium; that does too.
# Where neither can be had, those tests skip and say so.
browser:
	@command -v chromium-headless-shell >/dev/null \
		|| (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium-headless-shell) \
		|| command -v chromium >/dev/null || echo "no browser is installed and none could be: browser tests will be skipped"

$(VENV)/run: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/dev: pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-wheel dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
