"""The checked configuration, and what several rules use."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from snakemake.common.configfile import load_configfile

sys.path.insert(0, f"{workflow.basedir}/workflow_scripts")

from ekd_nmt.common.command import prepend_to_path
from ekd_nmt.common.command import revision as read_revision
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.logs import error_lines
from ekd_nmt.config.experiment import Experiment
from ekd_nmt.config.inherited import inherited
from ekd_nmt.config.types import SPLITS
from ekd_nmt.corpus.sources import check_local_files, collected


def stop(error):
    """End with one line about a mistake in the configuration; an exception would add the frame of this file."""
    print(f"configuration: {error}", file=sys.stderr)
    sys.exit(1)


try:
    experiment = Experiment(config)
    manifest = experiment.manifest
    check_local_files(experiment.data)
except UserError as error:
    stop(error)

# `configfiles` has the one that the Snakefile names behind those given with --configfile
*given, default = map(load_configfile, workflow.configfiles)
if workflow.is_main_process:  # every job reads this file again
    for warning in experiment.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if keys := inherited(default, workflow.config_settings.overwrite_config):
        print(f"warning: from config/config.yaml, made for the demo: {', '.join(keys)}; set your own", file=sys.stderr)

# Rules call plain `python`: with --sdm conda that of envs/nmt.yaml, otherwise the one that runs Snakemake. With a path
# in the rules themselves, every job would run again when the environment moves.
prepend_to_path(Path(sys.executable).parent)
for slurm_command in ("sacct", "squeue"):
    if shutil.which(slurm_command) is not None:  # see slurm/bin/fix_slurm_answers
        prepend_to_path(Path(workflow.basedir).resolve() / "slurm/bin" / slurm_command)
if experiment.data.mirror is not None:
    os.environ.setdefault("EKD_DATA_MIRROR", experiment.data.mirror)
# Not a parameter of the rule, because another interval of checkpoints is no reason to train again.
os.environ.update(
    EKD_CHECKPOINT_UPDATES=str(experiment.config.checkpoints.every_updates or ""),
    EKD_CHECKPOINT_MINUTES=str(experiment.config.checkpoints.every_minutes),
)

STARTED = time.time()
RUN = experiment.run_path("{system}", "{seed}")

# The order of the table: that of config/config.yaml, then new ones. Snakemake's own merging puts those first that a file
# given with --configfile mentions.
ordered = [name for file in [default, *given] for name in file.get("systems") or {}]
SYSTEMS = [name for name in dict.fromkeys([*ordered, *experiment.systems]) if name in experiment.systems]

# What the targets request. A job that fails or is killed loses its outputs, and Snakemake makes a lost file again only
# if a target names it or a job that runs anyway reads it. So the targets name the outputs of every step; otherwise the
# run after a failed retraining would have nothing to do, and the table would keep the old scores.
RUNS = [experiment.run_path(system, seed) for system in SYSTEMS for seed in experiment.seeds]
MODELS = [f"{run}/model.pt" for run in RUNS]
# Not the folders of the teacher caches: with `keep_cache: false` they are gone when everything is done.
CACHES = [f"{experiment.cache_path(*cache)}.json" for cache in experiment.caches()]
EVALUATIONS = [f"{run}/{file}" for run in RUNS for file in ("test.hyp.jsonl", "scores.json")]
REPORT = [experiment.data_path(name) for name in ("report.csv", "lengths.csv", "report.html")]
CORPUS = [
    *(path for step in ("raw", "tok", "bpe") for split in SPLITS for path in experiment.sides(step, split)),
    experiment.data_path("bpe.codes"),
    *experiment.binarized(),
    *REPORT,
]

COLLECTED = collected(experiment.data, manifest)
LINE_COUNTS = [
    *(experiment.data_path(f"raw/{split}.json") for split in COLLECTED),
    *([experiment.data_path("raw/stats.json")] if COLLECTED != SPLITS else []),
    *(experiment.data_path(f"tok/{split}.json") for split in SPLITS),
]


wildcard_constraints:
    system="|".join(map(re.escape, experiment.systems)),
    seed=r"\d+",
    split="train|valid|test",
    shard=r"\d{4}",


def revision(command):
    """A command's REVISION, as a parameter of the rules that call it.

    Snakemake does not notice a change of the code behind a ``shell:``. The name is part of the value, see :func:`flags`.
    """
    return f"{command} revision {read_revision(command)}"


def optional_flag(flag, path):
    """``flag path`` for the shell, or nothing without a path."""
    return f"{flag} {path}" if path else ""


def flags(options, *names):
    """``--name value`` for some fields of an options model, as one parameter of a rule.

    Snakemake compares the values of a job's parameters as a set, without their names. If they were bare numbers,
    swapping two of them (such as the sizes of two splits) would not rerun the job.
    """
    return " ".join(f"--{name.replace('_', '-')} {getattr(options, name)}" for name in names)


LANGUAGES = flags(experiment.data, "source_lang", "target_lang")
FINAL_PERIOD = "--split-final-period" if experiment.data.split_final_period else ""


def length_filter(split):
    """Flags of the length filter; none for the test set, which is scored as a whole."""
    return "" if split == "test" else flags(experiment.data.filter, "min_tokens", "max_tokens", "max_ratio")


def pair_filter(split):
    """Flags of all filters; none for the test set."""
    set_ones = [name for name in ("min_script", "other_language") if getattr(experiment.data.filter, name) is not None]
    return "" if split == "test" else f"{length_filter(split)} {flags(experiment.data.filter, *set_ones)}".strip()


onerror:
    unfinished = workflow.dag.needrun_jobs()  # those that were started have a new log
    for line in error_lines([Path(log) for job in unfinished for log in job.log], since=STARTED):
        print(line, file=sys.stderr)
