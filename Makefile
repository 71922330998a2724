# Everything a newcomer types; `make help` lists it. Each target sets up first, which takes a moment when it is done.
.DEFAULT_GOAL := help
PYTHON3 ?= python3
PYTHON := .venv/bin/python
TIDEMILL := .venv/bin/tidemill

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## fetch and install what everything else needs
	@$(PYTHON3) infra/setup.py

.PHONY: demo
demo: setup ## documents in, grounded answers out, before your eyes; leaves it running
	@$(TIDEMILL) demo $(ARGS)

.PHONY: up
up: setup ## start the servers and the services
	@$(TIDEMILL) up

.PHONY: down
down: setup ## stop all of them; the data stays
	@$(TIDEMILL) down

.PHONY: status
status: setup ## ask each service how it is
	@$(TIDEMILL) status

.PHONY: logs
logs: setup ## what they print, as it comes
	@$(TIDEMILL) logs --follow

.PHONY: check
check: setup ## every check, and the tests that need no server: a minute
	@$(PYTHON) infra/checks.py --quick

.PHONY: test
test: setup ## every check and every test; with SERVICE=rag the tests of one service or library
	@$(PYTHON) infra/checks.py $(if $(SERVICE),--of $(SERVICE))

.PHONY: verify
verify: setup ## the whole turn, natively and in float32 on AVX2, held against what is promised
	@$(PYTHON) infra/verify.py $(ARGS)

.PHONY: bench
bench: setup ## measure; prints the figures that docs/ tells
	@$(PYTHON) tests/bench

.PHONY: protos
protos: setup ## generate libs/contracts from protos/
	@$(PYTHON) infra/protos/generate.py

.PHONY: baseline
baseline: protos ## hold later contracts against those of now; refused where they break what was
	@.venv/bin/buf breaking protos --against protos/baseline.binpb
	@.venv/bin/buf build protos --exclude-source-info -o protos/baseline.binpb

.PHONY: sbom
sbom: setup ## write build/sbom.json: packages, jars and licences (CycloneDX)
	@$(PYTHON) infra/sbom.py

.PHONY: locks
locks: setup ## lock what the pyproject.toml files ask for
	@$(PYTHON) infra/locks/lock.py
