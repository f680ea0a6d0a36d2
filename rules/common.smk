"""The checked configuration and what all rules share."""

import json
import os
import re
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, f"{workflow.basedir}/workflow_scripts")

from cli import UserError, error_lines, prepend_to_path
from experiment import SPLITS, Experiment

try:
    exp = Experiment(config)
except UserError as error:
    raise WorkflowError(f"configuration: {error}")

# Rules call plain `python`: with --sdm conda the one of envs/nmt.yaml, otherwise the one that runs Snakemake. A path
# in the rules themselves would make every job look changed when the environment moves.
prepend_to_path(Path(sys.executable).parent)
if exp.data.mirror is not None:
    os.environ.setdefault("EKD_DATA_MIRROR", exp.data.mirror)

STARTED = time.time()
RUN = exp.run_path("{system}", "{seed}")


wildcard_constraints:
    system="|".join(map(re.escape, exp.systems)),
    seed=r"\d+",
    split="train|valid|test",


def optional_flag(flag, path):
    """``flag path`` for the shell, or nothing when there is no path."""
    return f"{flag} {path}" if path else ""


def length_filter(split):
    """Flags of the length filter; the test set stays whole, because scores are over all of it."""
    if split == "test":
        return ""
    limits = exp.data.filter
    return f"--min-tokens {limits.min_tokens} --max-tokens {limits.max_tokens} --max-ratio {limits.max_ratio}"


def teacher_model(wildcards):
    """The teacher's model file, or nothing for plain training."""
    teacher = exp.teacher(wildcards.system)
    if teacher is None:
        return []
    return exp.run_path(teacher, exp.teacher_seed(wildcards.system, int(wildcards.seed)), "model.pt")


def init_model(wildcards):
    """The model file of the stage before, or nothing for a random start."""
    init = exp.init(wildcards.system)
    return [] if init is None else exp.run_path(init, wildcards.seed, "model.pt")


onerror:
    logs = [*Path(exp.root).glob("**/logs/*.log"), *Path("resources").glob("*/logs/*.log")]
    for line in error_lines(logs, since=STARTED):
        print(line, file=sys.stderr)
