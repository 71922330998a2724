# Everything a newcomer types. `make help` lists it.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: protos
protos: ## Generate libs/contracts from protos/
	@$(PYTHON) infra/protos/generate.py
