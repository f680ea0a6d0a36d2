"""The checked configuration and what all rules share."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

sys.path.insert(0, f"{workflow.basedir}/workflow_scripts")

from ekd_nmt.common.command import prepend_to_path
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.logs import error_lines
from ekd_nmt.config.experiment import Experiment
from ekd_nmt.config.types import SPLITS
from ekd_nmt.corpus.sources import collected, is_held_out, is_made_at_once

try:
    exp = Experiment(config)
except UserError as error:
    raise WorkflowError(f"configuration: {error}")
if workflow.is_main_process:  # every job reads this file again
    for warning in exp.warnings:
        print(f"warning: {warning}", file=sys.stderr)

# Rules call plain `python`: with --sdm conda the one of envs/nmt.yaml, otherwise the one that runs Snakemake. A path
# in the rules themselves would make every job look changed when the environment moves.
prepend_to_path(Path(sys.executable).parent)
for slurm_command in ("sacct", "squeue"):
    if shutil.which(slurm_command) is not None:  # see slurm/bin/fix_slurm_answers
        prepend_to_path(Path(workflow.basedir).resolve() / "slurm/bin" / slurm_command)
if exp.data.mirror is not None:
    os.environ.setdefault("EKD_DATA_MIRROR", exp.data.mirror)
# not a parameter of the rule: how often it saves is no reason to train again
os.environ.update(
    EKD_CHECKPOINT_UPDATES=str(exp.config.checkpoints.updates or ""),
    EKD_CHECKPOINT_MINUTES=str(exp.config.checkpoints.minutes),
)

STARTED = time.time()
RUN = exp.run_path("{system}", "{seed}")

# The order of the table: that of config/config.yaml, then new ones. Snakemake's own merging puts those first that a file
# given with --configfile mentions. `configfiles` has the one that the Snakefile names behind the given files.
*given, default = workflow.configfiles
ordered = [name for path in [default, *given] for name in load_configfile(path).get("systems") or {}]
SYSTEMS = [name for name in dict.fromkeys([*ordered, *exp.systems]) if name in exp.systems]

# What the targets ask for. A job that fails or is killed has lost its outputs, and Snakemake makes a lost file again
# only when a target names it or a job that runs anyway reads it. So the targets name the outputs of every step;
# otherwise the run after a retraining that failed would find nothing to be done, and the table would keep old scores.
RUNS = [exp.run_path(system, seed) for system in SYSTEMS for seed in exp.seeds]
MODELS = [f"{run}/model.pt" for run in RUNS]
# folders of teacher caches are not among them: with `keep_cache: false` they are not there when nothing is to be done
CACHES = [f"{exp.cache_path(*cache)}.json" for cache in exp.caches()]
EVALUATIONS = [f"{run}/{file}" for run in RUNS for file in ("test.hyp.jsonl", "scores.json")]
REPORT = [exp.data_path(name) for name in ("report.csv", "lengths.csv", "report.html")]
CORPUS = [
    *(path for step in ("raw", "tok", "bpe") for split in SPLITS for path in exp.sides(step, split)),
    exp.data_path("bpe.codes"),
    *exp.binarized(),
    *REPORT,
]

ACCOUNTS = [
    *(exp.data_path(f"raw/{split}.json") for split in collected(exp.data)),
    *([exp.data_path("raw/stats.json")] if is_made_at_once(exp.data) or is_held_out(exp.data) else []),
    *(exp.data_path(f"tok/{split}.json") for split in SPLITS),
]


wildcard_constraints:
    system="|".join(map(re.escape, exp.systems)),
    seed=r"\d+",
    split="train|valid|test",
    shard=r"\d{4}",


def revision(command):
    """A command's REVISION, as a parameter of the rules that call it.

    Snakemake does not notice that the code behind a ``shell:`` has changed. The file is read and not imported, because
    every job reads the rules again. The name is part of the value, see :func:`flags`.
    """
    source = Path(workflow.basedir, "workflow_scripts", f"{command}.py").read_text(encoding="utf-8")
    return f"{command} revision {re.search(r'^REVISION = ([0-9]+)', source, re.MULTILINE)[1]}"


def optional_flag(flag, path):
    """``flag path`` for the shell, or nothing when there is no path."""
    return f"{flag} {path}" if path else ""


def flags(options, *names):
    """``--name value`` of some fields of an options model, as one parameter of a rule.

    Snakemake compares the values of a job's parameters as one set, without their names: two bare numbers that change
    places, say the sizes of two splits, would be no reason to run again.
    """
    return " ".join(f"--{name.replace('_', '-')} {getattr(options, name)}" for name in names)


LANGUAGES = flags(exp.data, "source_lang", "target_lang")
FINAL_PERIOD = "--split-final-period" if exp.data.split_final_period else ""


def length_filter(split):
    """Flags of the length filter; the test set stays whole, because scores are over all of it."""
    return "" if split == "test" else flags(exp.data.filter, "min_tokens", "max_tokens", "max_ratio")


def pair_filter(split):
    """Flags of all filters; likewise."""
    set_ones = [name for name in ("min_script", "other_language") if getattr(exp.data.filter, name) is not None]
    return "" if split == "test" else f"{length_filter(split)} {flags(exp.data.filter, *set_ones)}".strip()


onerror:
    logs = [*Path(exp.root).glob("**/logs/*.log"), *Path("resources").glob("*/logs/*.log")]
    for line in error_lines(logs, since=STARTED):
        print(line, file=sys.stderr)
