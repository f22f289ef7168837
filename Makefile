# make demo   a fleet of ssh servers on loopback and the jobs that use it, drawn as they run
# make test   every test, with the promises at reduced counts
# The other targets are for those who work on the project. All of them make .venv and install what
# they need, once. PYTHON=/path/to/python3.12 says which interpreter to use.

PY := .venv/bin/python
DEV := test,lint
CODE := $(wildcard engine monitor sshjobs tests examples benchmarks)
export PYTHON

.PHONY: help demo test test-all check docs promises bench picture clean

help:
	@echo "make demo      run the demo"
	@echo "make test      run the tests"
	@echo "make test-all  run those of the engine with every Python here, and on other event loops"
	@echo "make check     run the linter and the type checker"
	@echo "make docs      build the documentation, into docs/_build/html"
	@echo "make promises  run the promises with their full counts (long)"
	@echo "make bench     run the benchmarks"
	@echo "make picture   take the pictures of the monitor anew"
	@echo "make clean     remove everything that was made"

demo:
	@.ci/venv
	@$(PY) examples/fleet.py

test:
	@.ci/programs
	@.ci/venv $(DEV)
	@$(PY) -m pytest

test-all:
	@.ci/test-all

check:
	@.ci/venv $(DEV)
	$(PY) -m ruff check --ignore-noqa
	$(PY) -m ruff format --check
	$(PY) -m mypy $(CODE)

docs:
	@.ci/venv docs
	$(PY) -m sphinx -q -E -W --keep-going docs docs/_build/html

# The long ones may work longer on one test before they are taken for hung.
promises:
	@.ci/programs
	@.ci/venv $(DEV)
	@$(PY) -m pytest tests/promises --full -o faulthandler_timeout=3600

bench:
	@.ci/programs
	@.ci/venv $(DEV)
	@$(PY) -m benchmarks
	@$(PY) -m benchmarks.monitor
	@$(PY) -m benchmarks.ssh

picture:
	@.ci/programs
	@.ci/venv $(DEV)
	@$(PY) docs/picture.py

clean:
	rm -rf .venv* build dist docs/_build *.egg-info
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
