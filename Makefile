# `make help` lists the targets. Each one runs the setup first, which takes a moment once it is complete.
.DEFAULT_GOAL := help
PYTHON3 ?= python3
PYTHON := .venv/bin/python
# What runs models that name no engine: transformers, or vllm.
ENGINE ?=
TIDEMILL := $(if $(ENGINE),INFERENCE_ENGINE=$(ENGINE)) .venv/bin/tidemill

# Some images set this. Every process would compile what it imports anew: half of the time that a service takes to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install dependencies: packages, jars, models; ENGINE=vllm: vLLM too
	@$(PYTHON3) infra/setup.py $(ENGINE)

.PHONY: demo
demo: setup ## run the whole loop on the example and leave the stack running; options in ARGS, ENGINE as of up
	@$(TIDEMILL) demo $(ARGS)

.PHONY: up
up: setup ## start the stack: servers and services; ENGINE=vllm: models run in vLLM
	@$(TIDEMILL) up

.PHONY: down
down: setup ## stop the stack; data stays in .tidemill/
	@$(TIDEMILL) down

.PHONY: status
status: setup ## show the health of each service
	@$(TIDEMILL) status

.PHONY: logs
logs: setup ## follow the logs
	@$(TIDEMILL) logs --follow

.PHONY: check
check: setup ## run all checks, and the quick tests; SERVICE=rag: only the quick tests of one service or library
	@$(PYTHON) infra/checks.py --quick $(if $(SERVICE),--of $(SERVICE))

.PHONY: test
test: setup ## run all checks and tests; SERVICE=rag: only the tests of one service or library
	@$(PYTHON) infra/checks.py $(if $(SERVICE),--of $(SERVICE))

.PHONY: verify
verify: setup ## run the demo natively and in float32 on AVX2, check the promised figures, and probe every RPC
	@$(PYTHON) infra/verify.py $(ARGS)

.PHONY: bench
bench: setup ## run the benchmarks of docs/figures.md
	@$(PYTHON) tests/bench

.PHONY: protos
protos: setup ## generate libs/contracts from protos/
	@$(PYTHON) infra/protos/generate.py

.PHONY: baseline
baseline: protos ## accept additions to protos/ as the new baseline; fails on breaking changes
	@.venv/bin/buf breaking protos --against protos/baseline.binpb
	@.venv/bin/buf build protos --exclude-source-info -o protos/baseline.binpb

.PHONY: sbom
sbom: setup ## write build/sbom.json (CycloneDX): packages, jars and licences
	@$(PYTHON) infra/sbom.py

.PHONY: locks
locks: setup ## update the locks from the pyproject.toml files
	@$(PYTHON) infra/locks/lock.py
