# make run    the service on http://127.0.0.1:8080/ui/
# make test   everything: style, types, tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help venv run test lint format requirements clean

help:
	@sed -n 's/^# //p' Makefile

venv: $(VENV)/.run

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The package itself is linked, not copied: edits count at once.
$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	@touch $@

run: venv
	@$(BIN)/yolo-service serve

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pins every package with its hashes; no address of an index gets into the files.
requirements: $(VENV)/.dev
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file requirements.txt pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe \
		--extra dev --constraint requirements.txt \
		--output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
