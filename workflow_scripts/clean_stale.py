#!/usr/bin/env python3
"""Remove unfinished work from which no job of the current configuration would resume.

Checkpoints of trainings, shards of teacher caches and chunks of translations are kept in a folder for each job. When a
job's options, input files or the REVISION of its command change, it is another job and starts from scratch.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from ekd_nmt.cluster.cache_size import amount
from ekd_nmt.cluster.processes import controllers, steps
from ekd_nmt.common.command import json_argument, revision, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from ekd_nmt.common.json_files import read_json_if_valid
from ekd_nmt.config.experiment import Experiment
from ekd_nmt.resume.cleanup import remove, remove_if_empty, size_of, temporaries
from ekd_nmt.resume.work_folder import Job, WorkFolder, work_folders


class Fate(Enum):
    """What becomes of a folder: it is removed, it stays for a reason to report, or it stays."""

    REMOVE = "remove"
    KEEP = "keep"
    USED = "used"


class Verdict(NamedTuple):
    """What becomes of a folder, and why."""

    fate: Fate
    reason: str = ""


def classify(work: WorkFolder, exp: Experiment, finished: bool = False) -> Verdict:
    """Decide whether a job of the configuration would resume from a work folder.

    Args:
        work: one of :func:`ekd_nmt.resume.work_folder.work_folders`.
        exp: the configuration.
        finished: whether to remove the work of finished trainings and caches as well.
    """
    owner, job = work.running_owner(), work.job
    if owner is not None:
        return Verdict(Fate.KEEP, f"{owner} works there")
    if job is None:
        if not work.holds_work:
            return Verdict(Fate.REMOVE, "holds no work; its job was killed when it started")
        return Verdict(Fate.KEEP, "holds work, but no valid job.json; delete the folder if you do not need it")
    system, seed = work.path.relative_to(exp.root).parts[:2]
    seed = seed.removeprefix("seed")
    reason = _unused(job, system, seed, exp)
    if reason is not None:
        return Verdict(Fate.REMOVE, reason)
    missing = []
    for path, digest in job.inputs.items():
        if not Path(path).is_file():
            missing.append(path)
        elif _digest(path) != digest:
            return Verdict(Fate.REMOVE, f"its input {path} has changed")
    if missing:
        return Verdict(Fate.KEEP, f"its input {missing[0]} is missing; it may come back unchanged")
    if finished and _is_finished(job, system, int(seed), exp):
        return Verdict(Fate.REMOVE, f"{job.command} has finished")
    return Verdict(Fate.USED)


def _unused(job: Job, system: str, seed: str, exp: Experiment) -> str | None:
    """Why no job of the configuration has these options and reads these files; None if one does."""
    if system not in exp.systems:
        return f"{system} is no system of the configuration"
    if seed not in map(str, exp.seeds):
        return f"{seed} is no seed of the configuration"
    if job.revision != revision(job.command):
        return f"REVISION of {job.command} was {job.revision} and is {revision(job.command)} now"
    if job.command == "translate":
        wanted = exp.config.decoding.model_dump(mode="json") | {"target_lang": exp.data.target_lang}
        return differences({key: job.options[key] for key in wanted if key in job.options}, wanted, partial=True)
    if job.command == "cache_teacher":
        stored = [kept for cache, kept in exp.caches().items() if cache[:2] == (system, int(seed))]
        found = (job.options.get("top_k"), job.options.get("temperature"))
        if found not in stored:
            return f"no system reads a cache of {system} with top_k {found[0]} and temperature {found[1]}"
        wanted_models = {exp.run_path(system, seed, "model.pt")}
    else:
        reason = differences(job.options, exp.options(system) | {"seed": int(seed)})
        if reason is not None:
            return reason
        wanted_models = _models(system, int(seed), exp)
    inputs = {os.path.normpath(path) for path in job.inputs}
    models = {path for path in inputs if os.path.dirname(path) != exp.data_path("bin")}
    if models != wanted_models:
        other = min(models ^ wanted_models)
        return f"it {'read' if other in models else 'did not read'} {other}, {'not' if other in models else 'but'} now"
    return None


def differences(old: Any, new: Any, name: str = "", partial: bool = False) -> str | None:
    """The first option, by name, that differs between two sets, as a sentence; None if all are equal.

    Args:
        old: recorded options, in JSON's types.
        new: those of the configuration.
        name: dotted place of both.
        partial: whether to skip options that ``old`` does not have.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(old.keys() if partial else old.keys() | new.keys())
        inner = ((key, old.get(key, _NOT_SET), new.get(key, _NOT_SET)) for key in keys)
        found = (differences(before, now, f"{name}.{key}".lstrip("."), partial) for key, before, now in inner)
        return next((reason for reason in found if reason is not None), None)
    if isinstance(old, float) or isinstance(new, float):
        same = isinstance(old, int | float) and isinstance(new, int | float) and math.isclose(old, new, rel_tol=1e-12)
    else:
        same = old == new and type(old) is type(new)
    return None if same else f"{name or 'options'} was {_short(old)} and is {_short(new)} now"


_NOT_SET = object()


def _short(value: Any) -> str:
    text = "not set" if value is _NOT_SET else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _models(system: str, seed: int, exp: Experiment) -> set[str]:
    """The files that a training reads besides the corpus: teacher, its cache, and initial model."""
    cache = exp.teacher_cache(system, seed)
    meta = None if cache is None else f"{cache}/meta.json"
    return {path for path in (exp.teacher_file(system, seed), meta, exp.init_file(system, seed)) if path is not None}


def _is_finished(job: Job, system: str, seed: int, exp: Experiment) -> bool:
    """Whether the job's result is there, made with the same options, and newer than all inputs."""
    if job.command == "train":
        made = read_json_if_valid(Path(exp.run_path(system, seed, "config.json")), dict)
        same = made is not None and differences(made, job.options) is None
        results = [exp.run_path(system, seed, "model.pt")] if same else []
    elif job.command == "cache_teacher":
        wanted = (job.options["top_k"], job.options["temperature"])
        results = [
            f"{exp.cache_path(*cache)}/meta.json"
            for cache, stored in exp.caches().items()
            if cache[:2] == (system, seed) and stored == wanted
        ]
    else:
        results = []
    newest = max(os.stat(path).st_mtime_ns for path in job.inputs) if job.inputs else 0
    return bool(results) and all(Path(path).is_file() and os.stat(path).st_mtime_ns >= newest for path in results)


@functools.cache
def _digest(path: str) -> str:
    return sha256(path)


def clean(exp: Experiment, *, finished: bool = False, dry_run: bool = False) -> None:
    """Remove stale work and half-written files; print the path, reason and size of each.

    Raises:
        UserError: another Snakemake works in this folder, or the experiment's folder is a link.
    """
    root, folder = Path(exp.root), Path.cwd()
    _digest.cache_clear()
    if root.is_symlink():
        raise UserError(f"{root}: is a link, and links are not followed; nothing was removed")
    for controller in [] if dry_run else controllers(folder):
        raise UserError(
            f"{folder}: {controller.name} runs here, process {controller.pid}, perhaps with another configuration; "
            "wait for its end"
        )
    stale, excluded = {}, set()
    for work in work_folders(root):
        fate, reason = classify(work, exp, finished)
        if fate is Fate.REMOVE:
            stale[work.path] = reason
        elif fate is Fate.KEEP:
            print(f"kept {work.path} ({amount(size_of(work.path))}): {reason}", flush=True)
            if work.running_owner() is not None:
                excluded.add(work.path.parent.parent)
    running = steps(folder)
    if running:
        print(f"half-written files stay, because {next(iter(running.values()))} runs here", flush=True)
    half_written = [] if running else temporaries(root, excluded | stale.keys())
    verb, total = "would remove" if dry_run else "removed", 0
    reasons = stale | dict.fromkeys(half_written, "half-written")
    for path, reason in reasons.items():
        size = size_of(path)
        total += size
        if not dry_run:
            remove(path)
            if path in stale:
                remove_if_empty(path.parent, root)
        print(f"{verb} {path} ({amount(size)}): {reason}", flush=True)
    print(f"{root}: {verb} {amount(total)} in total" if reasons else f"{root}: nothing is stale")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=json_argument, help="the configuration, as JSON or @FILE")
    parser.add_argument("--finished", action="store_true", help="also remove work of finished trainings and caches")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    arguments = parser.parse_args()
    clean(Experiment(arguments.config), finished=arguments.finished, dry_run=arguments.dry_run)


if __name__ == "__main__":
    run(main)
