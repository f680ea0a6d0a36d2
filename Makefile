# Everyday commands; `make` alone lists them.

# cores for `make run`; ARGS are more arguments of snakemake, such as ARGS="--configfile config/multi30k.yaml"
CORES ?= all
ARGS ?=
PYTEST_ARGS ?=

# The environment's own Python first, so that another default on PATH causes no rebuild. Evaluated by `env` alone.
PYTHON ?= $(shell for python in .venv/bin/python python3.12 python3.11 python3; do \
	$$python dev/check_platform.py >/dev/null 2>&1 && { echo $$python; exit; }; done; echo python3)

BIN := .venv/bin
TABLE := results/bleu_table

.DEFAULT_GOAL := help
.PHONY: help env env-dev run test lint dag docs lock clean distclean recover clean-stale queue

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## install what a run needs into .venv, if it is not there; PYTHON=... chooses the interpreter
	@python="$(PYTHON)"; "$$python" dev/check_platform.py && "$$python" dev/build_env.py

env-dev: env ## also install what tests and lint need
	@$(BIN)/python dev/build_env.py --development

# rules and tests call `python`, `fairseq-preprocess` and others by name
run recover clean-stale test lint dag docs: export PATH := $(CURDIR)/$(BIN):$(PATH)

run: env ## run the default experiment; CORES=2 and ARGS="-n" are passed to snakemake
	$(BIN)/snakemake --cores $(CORES) $(ARGS)
	@if [ -f $(TABLE).csv ]; then echo "table: $(TABLE).csv and $(TABLE).md"; fi

recover: env ## resume after Snakemake was killed; YES=1 stops orphaned jobs without asking, KEEP=1 lets them run
	@$(BIN)/python workflow_scripts/recover.py $(if $(YES),--yes) $(if $(KEEP),--keep) -- --cores $(CORES) $(ARGS)

clean-stale: env ## remove unfinished work that no job would resume; DRY=1 only lists; FINISHED=1 also of finished jobs
	@EKD_CLEAN_STALE="$(if $(FINISHED),--finished) $(if $(DRY),--dry-run)" \
		$(BIN)/snakemake --cores 1 clean_stale --quiet rules progress host reason $(ARGS)

queue: ## list this folder's SLURM jobs: state, time, GPUs, node or reason, and rule, system and seed
	@squeue --me --Format='JobID:11 ,StateCompact:3 ,TimeUsed:12 ,tres-per-job:14 ,ReasonList:30 ,Comment:170 ,WorkDir:4000' \
		| awk -v folder="$(CURDIR)" '{ sub(/ +$$/, "") } NR == 1 || substr($$0, length($$0) - length(folder)) == " " folder \
			{ $$0 = substr($$0, 1, 245); sub(/ +$$/, ""); sub(/COMMENT$$/, "JOB"); sub(/ rule_corpus_.*/, " corpus"); \
			sub(/ rule_/, " "); sub(/_wildcards_/, " "); print }'

test: env-dev lint ## lint, then all tests; PYTEST_ARGS="-m 'not slow'" for the quick ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: env-dev ## check style, types, imports between modules, and the workflow's form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	PYTHONPATH=workflow_scripts $(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/snakemake --lint

dag: env ## draw results/dag.svg and results/rulegraph.svg with graphviz
	$(BIN)/python dev/draw_dag.py dag results/dag.svg $(ARGS)
	$(BIN)/python dev/draw_dag.py rulegraph results/rulegraph.svg $(ARGS)

docs: env ## write config/schema.json and docs/configuration.md from the models of the configuration
	$(BIN)/python dev/document_config.py

CONDA := envs/nmt.yaml
COMPILE := $(BIN)/uv pip compile --quiet

lock: env-dev ## resolve pyproject.toml into envs/; ARGS=--upgrade takes newer versions
	$(COMPILE) pyproject.toml envs/torch.txt --output-file envs/requirements.lock $(ARGS)
	$(COMPILE) --group dev --constraints envs/requirements.lock --output-file envs/requirements-dev.lock $(ARGS)
	sed -i '/^      - [a-z]/d' $(CONDA)
	sed -n 's/^\([a-z][^ ]*==[^ ]*\).*/      - \1/p' envs/requirements.lock envs/torch.txt >>$(CONDA)

# .snakemake/metadata stays: without it snakemake does not know what made the results
clean: ## remove caches and logs, keep results
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .snakemake/log .snakemake/tmp.*
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## also remove results and .venv (downloads in resources/ stay)
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf .snakemake .venv
