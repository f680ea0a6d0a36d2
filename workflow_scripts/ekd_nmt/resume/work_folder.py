"""What lies in the folders of unfinished work, ``…/progress/{key}``: which job each belongs to, and who works there."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ekd_nmt.cluster.processes import started_at
from ekd_nmt.common.files import read_object, write_json
from ekd_nmt.resume.lease import JOB, LEASE_SECONDS, LOCK, OWNER

KINDS = ("training", "caching", "translation")
# Another machine's process lives if it refreshed its lock this lately: leases, since it may be slow, and minutes, since
# the clocks of machines differ. A process of this machine can be looked at instead.
SIGN_OF_LIFE_SECONDS = max(600.0, 5 * LEASE_SECONDS)
_KEY = re.compile(r"[0-9a-f]{8,64}")
_WORK = re.compile(r"checkpoint_.+\.pt|.+\.npy|[0-9]+\.jsonl")  # checkpoints, shards of caches, chunks of translations
_CLOCK_SECONDS = 60.0  # by how much a process may seem to have started after it wrote down that it works


def write_job(
    folder: Path, *, work: str, options: Mapping[str, Any], seed: int | None, inputs: Mapping[str | Path, str]
) -> None:
    """Write down what work a folder of unfinished work belongs to, so that stale work can be told from what goes on.

    Args:
        folder: ``…/progress/{key}``, claimed by this process.
        work: ``training``, ``caching`` or ``translation``.
        options: all options that decide the result, in JSON's types.
        seed: of a training; None for other work.
        inputs: path, as the job was given it, → SHA-256 of each file that decides the result.
    """
    job = {
        "work": work,
        "options": dict(options),
        "seed": seed,
        "inputs": {str(path): digest for path, digest in inputs.items()},
    }
    if read_job(folder) != job:  # a run that goes on has it already
        write_json(folder / JOB, job)


def read_job(folder: Path) -> dict[str, Any] | None:
    """What :func:`write_job` wrote, or None if it is missing, damaged or of another form (an older version's)."""
    job = read_object(folder / JOB)
    if job is None or job.get("work") not in KINDS:
        return None
    options, inputs, seed = job.get("options"), job.get("inputs"), job.get("seed")
    if not isinstance(options, dict) or not isinstance(inputs, dict) or not isinstance(seed, int | None):
        return None
    return job


def holds_work(folder: Path) -> bool:
    """Whether a folder of unfinished work holds a checkpoint, a shard or a chunk, so that removing it loses work."""
    return any(_WORK.fullmatch(name) for _, _, names in os.walk(folder) for name in names)


def progress_folders(experiment: Path) -> list[Path]:
    """The folders of unfinished work of one experiment, sorted: of trainings and translations, and of caches.

    A link is not followed, wherever it is. What has not the name of a key, a hexadecimal hash, is not among them.

    Args:
        experiment: ``results/{experiment}``.
    """
    runs = [run for system in _folders(experiment) for run in _folders(system) if run.name.startswith("seed")]
    inner = [place for run in runs for place in _folders(run) if place.name in ("cache", "progress")]
    places = [each for place in inner for each in ([place] if place.name == "progress" else _folders(place))]
    folders = [folder for place in places if place.name == "progress" for folder in _folders(place)]
    return [folder for folder in folders if _KEY.fullmatch(folder.name)]


def living_owner(progress: Path) -> dict[str, Any] | None:
    """The ``owner.json`` of the process that works in a folder, or None if none does or it is dead.

    A process of another machine counts as living until its lock has not been refreshed for
    :data:`SIGN_OF_LIFE_SECONDS`; so does one that has a lock and has not said yet who it is.
    """
    owner = read_object(progress / OWNER)
    pid, since = (owner or {}).get("pid"), (owner or {}).get("since")
    if owner is not None and owner.get("host") == socket.gethostname() and isinstance(pid, int):
        started = started_at(pid)
        latest = since + _CLOCK_SECONDS if isinstance(since, int | float) else time.time()
        return owner if started is not None and started <= latest else None
    quiet = silent_seconds(progress)
    return (owner or {}) if quiet is not None and quiet < SIGN_OF_LIFE_SECONDS else None


def silent_seconds(progress: Path) -> float | None:
    """How long ago the lock of a folder was refreshed, or None if there is none."""
    try:
        return max(0.0, time.time() - (progress / LOCK).lstat().st_mtime)
    except OSError:
        return None


def temporaries(root: Path, spared: Collection[Path] = ()) -> Iterator[Path]:
    """The half-written files and folders, ``.*.tmp``, that killed steps have left below a folder.

    Args:
        root: where to look; no link below it is followed.
        spared: folders that are not looked into.
    """
    for folder, names, files in os.walk(root):
        here = Path(folder)
        found = [name for name in (*names, *files) if name.startswith(".") and name.endswith(".tmp")]
        yield from (here / name for name in sorted(found))
        names[:] = sorted(name for name in names if name not in found and here / name not in spared)


def remove(path: Path) -> int:
    """Delete a file, a link or a folder with all in it; returns the bytes that it had.

    A folder is renamed first, so that no half of one is left under its name if this process is killed.
    """
    size = size_of(path)
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return size
    if not path.name.endswith(".tmp"):
        path = path.rename(path.with_name(f".{path.name}.removed.tmp"))
    shutil.rmtree(path)
    return size


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links count as nothing."""
    if path.is_symlink() or not path.exists():
        return 0
    if not path.is_dir():
        return path.stat().st_size
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files if not file.is_symlink())


def remove_if_empty(folder: Path, root: Path) -> None:
    """Remove a folder below ``root`` if it is empty, and then those that it was the last entry of, but for ``root``."""
    for each in itertools.takewhile(lambda parent: parent != root, (folder, *folder.parents)):
        with contextlib.suppress(FileNotFoundError):
            try:
                each.rmdir()
            except OSError:  # not empty
                return


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
