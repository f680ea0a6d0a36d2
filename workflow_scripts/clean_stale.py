#!/usr/bin/env python3
"""Remove half-written files, and unfinished work from which no job of the current configuration would resume.

Checkpoints of trainings, shards of teacher caches and chunks of translations are kept in a folder for each job. When a
job's options, input files or the REVISION of its command change, it is another job and starts from scratch.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ekd_nmt.cluster.cache_size import amount
from ekd_nmt.cluster.processes import refuse_beside_controller, steps
from ekd_nmt.common.command import json_argument, revision, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from ekd_nmt.common.json_files import read_json_if_valid
from ekd_nmt.config.experiment import Experiment
from ekd_nmt.resume.work_folder import Job, WorkFolder, work_folders

DOWNLOADS = Path("resources")


class Verdict(NamedTuple):
    """Whether a folder is removed, and why it is removed or kept; None if a job would resume from it."""

    removed: bool
    reason: str | None


def classify(work: WorkFolder, exp: Experiment, finished: bool = False) -> Verdict:
    """Decide whether a job of the configuration would resume from a work folder.

    Args:
        work: one of :func:`ekd_nmt.resume.work_folder.work_folders`.
        exp: the configuration.
        finished: whether to remove the work of finished trainings as well.
    """
    owner, job = work.running_owner(), work.job
    if owner is not None:
        return Verdict(False, f"{owner} works there")
    if job is None:
        if not work.holds_work:
            return Verdict(True, "holds no work; its job was killed when it started")
        return Verdict(False, "holds work, but no valid job.json; delete the folder if you do not need it")
    system, seed = work.path.relative_to(exp.root).parts[:2]
    seed = seed.removeprefix("seed")
    if reason := _unused(job, system, seed, exp):
        return Verdict(True, reason)
    missing = [path for path in job.inputs if not Path(path).is_file()]
    for path, digest in job.inputs.items():
        if path not in missing and _digest(path) != digest:
            return Verdict(True, f"its input {path} has changed")
    if missing:
        return Verdict(False, f"its input {missing[0]} is missing; it may come back unchanged")
    if finished and _is_finished(job, system, seed, exp):
        return Verdict(True, "its training has finished")
    return Verdict(False, None)


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


def _is_finished(job: Job, system: str, seed: str, exp: Experiment) -> bool:
    """Whether the job is a training whose model is there, made with the same options, and newer than all inputs."""
    model = Path(exp.run_path(system, seed, "model.pt"))
    made = read_json_if_valid(Path(exp.run_path(system, seed, "config.json")), dict)
    if job.command != "train" or not model.is_file() or made is None or differences(made, job.options) is not None:
        return False
    return all(os.stat(path).st_mtime_ns <= model.stat().st_mtime_ns for path in job.inputs)


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
    if not dry_run:
        refuse_beside_controller(folder)
    stale, excluded = {}, set()
    for work in work_folders(root):
        removed, reason = classify(work, exp, finished)
        if removed:
            stale[work.path] = reason
        elif reason is not None:
            print(f"kept {work.path} ({amount(size_of(work.path))}): {reason}", flush=True)
            if work.running_owner() is not None:
                excluded.add(work.path.parent.parent)
    running = steps(folder)
    if running:
        print(f"half-written files stay, because {next(iter(running.values()))} runs here", flush=True)
    half_written = [
        path for place in (root, DOWNLOADS) if not running for path in temporaries(place, excluded | stale.keys())
    ]
    verb, total = "would remove" if dry_run else "removed", 0
    reasons = stale | dict.fromkeys(half_written, "half-written")
    for path, reason in reasons.items():
        size = size_of(path)
        total += size
        if not dry_run:
            remove(path)
            if path in stale:
                with contextlib.suppress(OSError):  # other work is there
                    os.removedirs(path.parent)
        print(f"{verb} {path} ({amount(size)}): {reason}", flush=True)
    print(f"{root}: {verb} {amount(total)} in total" if reasons else f"{root}: nothing is stale")


def temporaries(root: Path, excluded: Collection[Path] = ()) -> Iterator[Path]:
    """The half-written files and folders, ``.*.tmp``, below a folder.

    Args:
        root: where to look; links below it are not followed.
        excluded: folders that are skipped.
    """
    for folder, names, files in os.walk(root):
        here = Path(folder)
        found = [name for name in (*names, *files) if name.startswith(".") and name.endswith(".tmp")]
        yield from (here / name for name in sorted(found))
        names[:] = sorted(name for name in names if name not in found and here / name not in excluded)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all in it.

    A folder is renamed first, so that a kill leaves no half of it under its name.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if not path.name.endswith(".tmp"):
        path = path.rename(path.with_name(f".{path.name}.removed.tmp"))
    shutil.rmtree(path)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links have none."""
    if path.is_symlink() or not path.exists():
        return 0
    if not path.is_dir():
        return path.stat().st_size
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files if not file.is_symlink())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=json_argument, help="the configuration, as JSON or @FILE")
    parser.add_argument("--finished", action="store_true", help="also remove work of finished trainings")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    arguments = parser.parse_args()
    clean(Experiment(arguments.config), finished=arguments.finished, dry_run=arguments.dry_run)


if __name__ == "__main__":
    run(main)
