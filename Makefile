# `make demo` runs the whole flow, `make test` the tests. Each first sets up .venv from a bare python3 (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Newer than the files it was installed from, once the set-up is done.
READY := .venv/ready

.PHONY: setup demo test test-slow test-browser lint format bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python must be 3.11, 3.12 or 3.13. Received: $$($(PYTHON) --version 2>&1). Run: make PYTHON=python3.12 ..."; exit 2; }
	@echo "Setting up .venv (a few minutes, once)"
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --constraint constraints.txt --editable '.[augment,figures,train,dev]'
	@# imaug requires both OpenCV wheels, which install into the same folder: keep the one that needs no window system.
	@$(PIP) uninstall --yes opencv-python
	@$(PIP) install --constraint constraints.txt --force-reinstall --no-deps opencv-python-headless
	@touch $(READY)

demo: $(READY)
	@rm -rf demo
	@$(BIN)/hpa demo demo

test: $(READY)
	@# Two processes on two cores: more threads would only wait for each other, 15 % of the time.
	@TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow and not browser' -n 2 --dist loadfile

test-slow: $(READY)
	@$(BIN)/python -m pytest -m slow

# The page of `hpa browse` in Chromium, such as Debian's package; without it, these tests are skipped.
test-browser: $(READY)
	@$(BIN)/python -m pytest -m browser

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY)
	@$(BIN)/python -m benchmarks.end_to_end
	@$(BIN)/python -m benchmarks.convert
	@$(BIN)/python -m benchmarks.augment
	@$(BIN)/python -m benchmarks.loaders.run
	@$(BIN)/python -m benchmarks.open_large_store
	@$(BIN)/python -m benchmarks.small_images

clean:
	rm -rf .venv demo
