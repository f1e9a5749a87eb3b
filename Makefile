# The commands of .ci/run one by one. PYTHON names another interpreter: make setup PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test test-fast lint types docs sheets bench

setup:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[test,docs]'

test:
	$(BIN)/python -m pytest -n 2

test-fast:
	$(BIN)/python -m pytest -n 2 -m "not model and not slow"

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports

types:
	$(BIN)/mypy

docs:
	$(BIN)/python docs/generate.py --check
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

sheets:
	$(BIN)/python samples/make_sheets.py
	$(BIN)/python samples/make_web_pages.py

bench:
	$(BIN)/editkit bench --chart samples/bench.png
