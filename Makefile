# Everyday commands; `make` alone lists them.

# processor cores for `make run`; ARGS goes to snakemake, for example ARGS="--configfile config/multi30k.yaml"
CORES ?= all
ARGS ?=
PYTEST_ARGS ?=

# The environment's own Python first, so that another default on PATH does not cause a rebuild. Lazy: only `env` asks.
PYTHON ?= $(shell for python in .venv/bin/python python3.12 python3.11 python3; do \
	$$python dev/check_platform.py >/dev/null 2>&1 && { echo $$python; exit; }; done; echo python3)

BIN := .venv/bin
TABLE := results/bleu_table

.DEFAULT_GOAL := help
.PHONY: help env run test lint dag docs lock clean distclean recover clean-stale queue

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## build .venv from envs/ (does nothing when it is up to date); PYTHON=... picks the interpreter
	@python="$(PYTHON)"; "$$python" dev/check_platform.py && "$$python" dev/build_env.py

# rules and tests call `python`, `fairseq-preprocess` and the like by name
run recover clean-stale test lint dag docs lock: export PATH := $(CURDIR)/$(BIN):$(PATH)

run: env ## run the default experiment; CORES=2, ARGS="-n" and the like go to snakemake
	$(BIN)/snakemake --cores $(CORES) $(ARGS)
	@if [ -f $(TABLE).csv ]; then echo "table: $(TABLE).csv and $(TABLE).md"; fi

recover: env ## go on after Snakemake was killed; YES=1 stops what is left without asking, KEEP=1 goes on beside it
	@$(BIN)/python workflow_scripts/recover.py $(if $(YES),--yes) $(if $(KEEP),--keep) -- --cores $(CORES) $(ARGS)

clean-stale: env ## remove unfinished work that nothing would go on with; DRY=1 only lists; FINISHED=1, OLD=1 more
	@EKD_CLEAN_STALE="$(if $(FINISHED),--finished) $(if $(OLD),--without-job) $(if $(DRY),--dry-run)" \
		$(BIN)/snakemake --cores 1 clean_stale --quiet rules progress host reason $(ARGS)

queue: ## list this folder's SLURM jobs: state, time, GPUs, node or reason, and rule, system and seed
	@squeue --me --Format='JobID:11 ,StateCompact:3 ,TimeUsed:12 ,tres-per-job:14 ,ReasonList:30 ,Comment:170 ,WorkDir:4000' \
		| awk -v folder="$(CURDIR)" '{ sub(/ +$$/, "") } NR == 1 || substr($$0, length($$0) - length(folder)) == " " folder \
			{ $$0 = substr($$0, 1, 245); sub(/ +$$/, ""); sub(/COMMENT$$/, "JOB"); sub(/ rule_corpus_.*/, " corpus"); \
			sub(/ rule_/, " "); sub(/_wildcards_/, " "); print }'

test: env lint ## lint, then all tests; PYTEST_ARGS="-m 'not slow'" for the quick ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: env ## check style and the workflow's form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

dag: env ## draw results/dag.svg and results/rulegraph.svg (.mmd without graphviz)
	$(BIN)/python dev/draw_dag.py --kind dag --output results/dag.svg -- $(ARGS)
	$(BIN)/python dev/draw_dag.py --kind rulegraph --output results/rulegraph.svg -- $(ARGS)

docs: env ## write config/schema.json and docs/configuration.md anew from the configuration's models
	$(BIN)/python dev/document_config.py

lock: env ## resolve envs/requirements.in anew; ARGS=--upgrade takes newer indirect dependencies
	$(BIN)/python dev/lock_env.py $(ARGS)

# .snakemake/metadata stays: without it snakemake no longer knows what the results were made with
clean: ## remove caches and logs, keep results
	rm -rf .pytest_cache .ruff_cache .snakemake/log .snakemake/tmp.*
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## also remove results and .venv (downloads in resources/ stay)
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf .snakemake .venv
