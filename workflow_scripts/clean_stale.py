#!/usr/bin/env python3
"""Remove unfinished work that no job of the current configuration would go on with.

Checkpoints of trainings, shards of teacher caches and parts of translations lie in folders of their own, one a job. The
job of one whose options, seed or input files have changed since then is another job, and starts afresh.
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
from ekd_nmt.common.command import json_argument, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_object, sha256
from ekd_nmt.config.experiment import Experiment
from ekd_nmt.resume.lease import describe_owner
from ekd_nmt.resume.work_folder import (
    holds_work,
    living_owner,
    progress_folders,
    read_job,
    remove,
    remove_if_empty,
    size_of,
    temporaries,
)


class Fate(Enum):
    """What becomes of a folder: it goes, it stays and the user is told why, or it stays."""

    REMOVE = "remove"
    KEEP = "keep"
    USED = "used"


class Verdict(NamedTuple):
    """What becomes of a folder, and why."""

    fate: Fate
    reason: str = ""


def judge(folder: Path, exp: Experiment, finished: bool = False, without_job: bool = False) -> Verdict:
    """Whether a job of the configuration would go on with a folder of unfinished work.

    Args:
        folder: one of :func:`unfinished.progress_folders`.
        exp: the configuration.
        finished: whether that of a finished training or cache goes as well.
        without_job: whether work goes as well that does not say which job it is of.
    """
    owner = living_owner(folder)
    if owner is not None:
        return Verdict(Fate.KEEP, f"{describe_owner(owner)} works there")
    job = read_job(folder)
    if job is None:
        if without_job or not holds_work(folder):
            return Verdict(Fate.REMOVE, "says not whose it is: of an older version, or killed when it began")
        # it may be of the version before, and be gone on with: its key has not changed
        return Verdict(
            Fate.KEEP,
            "holds unfinished work, perhaps of an older version, and has no job.json that says whose; if no job is to "
            "go on with it, --without-job (make clean-stale OLD=1) removes it",
        )
    system, seed = _place(folder, exp)
    reason = _unused(job, system, seed, exp)
    if reason is not None:
        return Verdict(Fate.REMOVE, reason)
    missing = []
    for path, digest in job["inputs"].items():
        if not Path(path).is_file():
            missing.append(path)
        elif _digest(path) != digest:
            return Verdict(Fate.REMOVE, f"its input {path} has changed")
    if missing:
        return Verdict(Fate.KEEP, f"its input {missing[0]} is missing now; it may come back as it was")
    if finished and _is_finished(job, system, int(seed), exp):
        return Verdict(Fate.REMOVE, f"the {job['work']} is finished")
    return Verdict(Fate.USED)


def _place(folder: Path, exp: Experiment) -> tuple[str, str]:
    """The system and the seed of the run that a folder lies in, as its path has them."""
    system, seed = folder.relative_to(exp.root).parts[:2]
    return system, seed.removeprefix("seed")


def _unused(job: Mapping[str, Any], system: str, seed: str, exp: Experiment) -> str | None:
    """Why no job of the configuration has the options and reads the files that are recorded; None if one does."""
    if system not in exp.systems:
        return f"{system} is no system of the configuration"
    if seed not in map(str, exp.seeds):
        return f"{seed} is no seed of the configuration"
    options, inputs = job["options"], {os.path.normpath(path) for path in job["inputs"]}
    models = {path for path in inputs if os.path.dirname(path) != exp.data_path("bin")}
    if job["work"] == "translation":
        wanted = exp.config.decoding.model_dump(mode="json") | {"target_lang": exp.data.target_lang}
        return differences({key: options[key] for key in wanted if key in options}, wanted, partial=True)
    if job["work"] == "caching":
        stored = [kept for cache, kept in exp.caches().items() if cache[:2] == (system, int(seed))]
        found = (options.get("top_k"), options.get("temperature"))
        if found not in stored:
            return f"no system reads a cache of {system} with top_k {found[0]} and temperature {found[1]}"
        wanted_models = {exp.run_path(system, seed, "model.pt")}
    else:
        if job["seed"] != int(seed):
            return f"it is of seed {job['seed']}"
        reason = differences(options, exp.options(system))
        if reason is not None:
            return reason
        wanted_models = _models(system, int(seed), exp)
    if models != wanted_models:
        other = min(models ^ wanted_models)
        return f"it {'read' if other in models else 'did not read'} {other}, {'not' if other in models else 'but'} now"
    return None


def differences(old: Any, new: Any, name: str = "", partial: bool = False) -> str | None:
    """The first option, by name, that two sets of options do not have alike, in words; None if all are alike.

    Args:
        old: recorded options, in JSON's types.
        new: those of the configuration.
        name: dotted place of both.
        partial: whether options that ``old`` does not name are left out.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(old.keys() if partial else old.keys() | new.keys())
        inner = ((key, old.get(key, _NONE), new.get(key, _NONE)) for key in keys)
        found = (differences(before, now, f"{name}.{key}".lstrip("."), partial) for key, before, now in inner)
        return next((reason for reason in found if reason is not None), None)
    if isinstance(old, float) or isinstance(new, float):
        same = isinstance(old, int | float) and isinstance(new, int | float) and math.isclose(old, new, rel_tol=1e-12)
    else:
        same = old == new and type(old) is type(new)
    return None if same else f"{name or 'options'} was {_short(old)} and is {_short(new)} now"


class _Missing:
    def __repr__(self) -> str:
        return "not set"


_NONE = _Missing()


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."


def _models(system: str, seed: int, exp: Experiment) -> set[str]:
    """The files that a training reads besides the corpus: teacher, its cache, and what it starts from."""
    cache = exp.teacher_cache(system, seed)
    meta = None if cache is None else f"{cache}/meta.json"
    return {path for path in (exp.teacher_file(system, seed), meta, exp.init_file(system, seed)) if path is not None}


def _is_finished(job: Mapping[str, Any], system: str, seed: int, exp: Experiment) -> bool:
    """Whether what the work was for is there, made of the same options, and newer than all inputs."""
    if job["work"] == "training":
        made = read_object(Path(exp.run_path(system, seed, "config.json")))
        same = made is not None and differences(made, job["options"] | {"seed": seed}) is None
        results = [exp.run_path(system, seed, "model.pt")] if same else []
    elif job["work"] == "caching":
        wanted = (job["options"].get("top_k"), job["options"].get("temperature"))
        results = [
            f"{exp.cache_path(*cache)}/meta.json"
            for cache, stored in exp.caches().items()
            if cache[:2] == (system, seed) and stored == wanted
        ]
    else:
        results = []
    newest = max(os.stat(path).st_mtime_ns for path in job["inputs"]) if job["inputs"] else 0
    return bool(results) and all(Path(path).is_file() and os.stat(path).st_mtime_ns >= newest for path in results)


@functools.cache
def _digest(path: str) -> str:
    return sha256(path)


def clean(exp: Experiment, *, finished: bool = False, without_job: bool = False, dry_run: bool = False) -> None:
    """Remove what :func:`judge` gives up, and half-written files; print each, why, and how much room it makes.

    Raises:
        UserError: another Snakemake works in this folder, or that of the experiment is a link.
    """
    root, folder = Path(exp.root), Path.cwd()
    _digest.cache_clear()
    if root.is_symlink():
        raise UserError(f"{root}: is a link, which is not followed; nothing was removed")
    for controller in [] if dry_run else controllers(folder):
        raise UserError(
            f"{folder}: {controller.name} runs here, process {controller.pid}, perhaps with another configuration; "
            "wait for its end"
        )
    verb, total, count, spared = "would remove" if dry_run else "removed", 0, 0, set()
    for place in progress_folders(root):
        fate, reason = judge(place, exp, finished, without_job)
        if fate is Fate.REMOVE:
            size = size_of(place) if dry_run else remove(place)
            print(f"{verb} {place} ({amount(size)}): {reason}", flush=True)
            total, count = total + size, count + 1
            if not dry_run:
                remove_if_empty(place.parent, root)
        elif fate is Fate.KEEP:
            print(f"kept {place} ({amount(size_of(place))}): {reason}", flush=True)
            if living_owner(place) is not None:
                spared.add(place.parent.parent)
    running = steps(folder)
    if running:
        print(f"half-written files stay, because {next(iter(running.values()))} runs here", flush=True)
    for path in [] if running else list(temporaries(root, spared)):
        size = size_of(path) if dry_run else remove(path)
        print(f"{verb} {path} ({amount(size)}): half-written", flush=True)
        total, count = total + size, count + 1
    print(f"{root}: {verb} {amount(total)} in all" if count else f"{root}: nothing stale is there")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=json_argument, help="the configuration, as JSON or @FILE")
    parser.add_argument("--finished", action="store_true", help="also that of finished trainings and caches")
    parser.add_argument("--without-job", action="store_true", help="also work that does not say which job it is of")
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, say what would be")
    arguments = parser.parse_args()
    clean(
        Experiment(arguments.config),
        finished=arguments.finished,
        without_job=arguments.without_job,
        dry_run=arguments.dry_run,
    )


if __name__ == "__main__":
    run(main)
