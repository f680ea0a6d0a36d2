"""Checkpoint files: reading damaged ones, choosing the one to resume from, and replacing them safely.

A training keeps the last checkpoint, the one before it, and two copies of the best one. Each is a file of its own, so
that damage to one leaves the others intact. A new checkpoint is complete, and on the disk, before it replaces another.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write
from ekd_nmt.resume.out_of_memory import is_out_of_memory
from kd.fairseq_api import load_checkpoint_to_cpu

# raised by torch and fairseq for truncated, foreign and unsafe files
UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, AttributeError, TypeError, ValueError, UnpicklingError)

LAST, PREVIOUS, BEST, BEST_COPY = (f"checkpoint_{name}.pt" for name in ("last", "previous", "best", "best_copy"))
_NAMES = (LAST, PREVIOUS, BEST, BEST_COPY)
_UNUSABLE = ".unusable"  # suffix of checkpoints that cannot be used


def new_name(folder: Path) -> Path:
    """Where this process writes a new checkpoint before it replaces the last one."""
    return folder / f"checkpoint_new_{os.getpid()}.pt"


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint or a model atomically.

    Raises:
        OSError: it cannot be written; no file remains.
    """
    try:
        with atomic_write(path, "wb") as handle:
            torch.save(state, handle)
    except RuntimeError as error:
        if isinstance(cause := error.__context__, OSError):  # torch raises a consequence of it
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise


def put_in_place(new: Path, is_best: bool) -> None:
    """Make a new checkpoint the last one, and also the best one if it is.

    After a kill between any two steps, :func:`newest_as_last` completes them. The last one is replaced first, so that
    the best one is never newer: on a GPU, repeated updates may differ.
    """
    last = new.with_name(LAST)
    if last.exists():
        second_name(last, new.with_name(PREVIOUS))
    os.replace(new, last)
    if is_best:
        _keep_as_best(last)


def newest_as_last(folder: Path, say: Callable[[str], None]) -> bool:
    """Make ``LAST`` the newest checkpoint that can be read; False if there is none.

    Training can resume from an older checkpoint, and repeats the updates after it. It cannot resume without the best
    one, which becomes the model; that is why there is a copy. Unusable files are renamed, half-written ones removed.

    Raises:
        UserError: a checkpoint does not fit into memory.
        OSError: a checkpoint cannot be read, for a reason other than damage.
    """
    for half_written in [*folder.glob("checkpoint_new*"), *folder.glob(".*.tmp")]:
        half_written.unlink(missing_ok=True)
    states = {name: _extra_state(folder / name, say) for name in (LAST, BEST)}
    if (last := states[LAST]) is None or _best_of(last, states) != BEST:
        states |= {name: _extra_state(folder / name, say) for name in (PREVIOUS, BEST_COPY)}
    usable = {name: state for name, state in states.items() if state is not None and _is_usable(state, states)}
    if not usable:
        unusable = [path for name in _NAMES if (path := folder / name).exists()]
        for path in unusable:
            os.replace(path, path.with_name(path.name + _UNUSABLE))
        if unusable:
            say(f"warning: {folder}: no checkpoint is usable (kept as *{_UNUSABLE}); training starts from scratch")
        return False
    chosen = LAST if LAST in usable else max(usable, key=lambda name: usable[name]["updates"])
    best = _best_of(usable[chosen], states)
    if best is not None and (best != BEST or usable[chosen]["is_best"]):
        _keep_as_best(folder / best)
    if chosen != LAST:
        say(f"using {folder / chosen} instead; the updates after it are repeated")
        _copy(folder / chosen, folder / LAST)
    return True


def remove_spare(folder: Path) -> None:
    """Remove the checkpoints of a finished training that are only for interruptions."""
    for path in [folder / PREVIOUS, folder / BEST_COPY, *folder.glob(f"*{_UNUSABLE}")]:
        path.unlink(missing_ok=True)


def bytes_on_disk(folder: Path) -> int:
    """Total size of a training's checkpoints."""
    return sum(path.stat().st_size for name in _NAMES if (path := folder / name).exists())


def _keep_as_best(path: Path) -> None:
    for name in (BEST, BEST_COPY):
        if name != path.name:
            _copy(path, path.with_name(name))


def _is_usable(state: dict[str, Any], states: dict[str, dict[str, Any] | None]) -> bool:
    return state["best"] is None or _best_of(state, states) is not None


def _best_of(state: dict[str, Any], states: dict[str, dict[str, Any] | None]) -> str | None:
    """Name of the checkpoint that is the best one of a state, ``BEST`` if possible; None if there is none."""
    for name in sorted(states, key=lambda name: name != BEST):
        other = states[name]
        if other is None or not other["is_best"] or other["best"] != state["best"]:
            continue
        # two checkpoints may have the same score
        if other["updates"] == state.get("best_updates", other["updates"]):
            return name
    return None


def _extra_state(path: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The training loop's state in a checkpoint; None if the file is missing or damaged."""
    if not path.exists():
        return None
    try:
        loaded = load_checkpoint_to_cpu(str(path))
        return loaded["extra_state"] | {"updates": loaded["optimizer_history"][-1]["num_updates"]}
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise UserError(f"{path}: does not fit into memory while it is read; ask for more memory") from error
        # torch raises EINVAL for a truncated file; other errors may be temporary, and the file intact
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        say(f"warning: {path} is damaged and will not be used ({first_line(error)})")
        return None


def second_name(source: Path, target: Path) -> None:
    """Hard-link ``source`` as ``target``, replacing it atomically."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        _copy(source, target)
        return
    os.replace(temporary, target)
    temporary.unlink(missing_ok=True)  # renaming one name of a file to another of the same file does nothing


def _copy(source: Path, target: Path) -> None:
    """Copy a file, replacing ``target`` atomically once the copy is on the disk."""
    with source.open("rb") as reader, atomic_write(target, "wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 22)


def first_line(error: BaseException) -> str:
    """An error's message, short enough to be quoted in another one."""
    text = str(error).strip().split("\n")[0]
    # torch then recommends loading the file without weights_only
    return text.partition("Re-running")[0].strip()[:200] or type(error).__name__
