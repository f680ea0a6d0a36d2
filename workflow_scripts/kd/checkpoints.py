"""Checkpoint files: what makes one unreadable, which of a run's to go on from, and how they are replaced.

A run keeps the last checkpoint, the one before it, and the best one twice, each a file of its own, so that damage to
one leaves the others whole. A new one is complete, and on the disk, before any of them is replaced.
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
from fairseq import checkpoint_utils

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write
from ekd_nmt.resume.out_of_memory import is_out_of_memory

# what torch and fairseq raise for truncated, foreign and unsafe files
UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, AttributeError, TypeError, ValueError, UnpicklingError)

LAST, PREVIOUS, BEST, BEST_COPY = (f"checkpoint_{name}.pt" for name in ("last", "previous", "best", "best_copy"))
_NAMES = (LAST, PREVIOUS, BEST, BEST_COPY)
_UNUSABLE = ".unusable"  # what a file is called after it could not be used


def new_name(folder: Path) -> Path:
    """Where this process writes a checkpoint before it takes the place of the last one."""
    return folder / f"checkpoint_new_{os.getpid()}.pt"


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, or a model, under a temporary name and rename it.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    try:
        with atomic_write(path, "wb") as handle:
            torch.save(state, handle)
    except RuntimeError as error:
        if isinstance(cause := error.__context__, OSError):  # torch hides it behind what follows from it
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise


def put_in_place(new: Path, is_best: bool) -> None:
    """Make a new checkpoint the last one, and the best one too if it is.

    What a kill between any two steps leaves undone, :func:`newest_as_last` does. The last one comes first: the best one
    is never newer, since on a GPU what is repeated may come out otherwise.
    """
    last = new.with_name(LAST)
    if last.exists():
        second_name(last, new.with_name(PREVIOUS))
    os.replace(new, last)
    if is_best:
        _keep_as_best(last)


def newest_as_last(folder: Path, say: Callable[[str], None]) -> bool:
    """See to it that ``LAST`` is the newest checkpoint that can be read; False if there is none.

    A run can go on from an older checkpoint as from the last one, only that it repeats more. It cannot go on without
    the best one: that is what becomes the model, and so there is a copy of it. What cannot be used is kept under
    another name. What a kill has left half-written is removed.

    Raises:
        UserError: memory does not suffice to read a checkpoint.
        OSError: a checkpoint cannot be read, for a reason other than damage.
    """
    for leftover in [*folder.glob("checkpoint_new*"), *folder.glob(".*.tmp")]:
        leftover.unlink(missing_ok=True)
    states = {name: _extra_state(folder / name, say) for name in (LAST, BEST)}
    if states[LAST] is None or _best_of(states[LAST], states) != BEST:
        states |= {name: _extra_state(folder / name, say) for name in (PREVIOUS, BEST_COPY)}
    usable = [name for name, state in states.items() if _can_go_on(state, states)]
    if not usable:
        left = [path for name in _NAMES if (path := folder / name).exists()]
        for path in left:
            os.replace(path, path.with_name(path.name + _UNUSABLE))
        if left:
            say(f"warning: {folder}: no usable checkpoint is left (kept as *{_UNUSABLE}); training starts anew")
        return False
    chosen = LAST if LAST in usable else max(usable, key=lambda name: states[name]["updates"])
    best = _best_of(states[chosen], states)
    if best is not None and (best != BEST or states[chosen]["is_best"]):
        _keep_as_best(folder / best)
    if chosen != LAST:
        say(f"taking {folder / chosen} instead; the updates after it are repeated")
        _copy(folder / chosen, folder / LAST)
    return True


def remove_spare(folder: Path) -> None:
    """When all is done, remove what only an interruption would have needed."""
    for path in [folder / PREVIOUS, folder / BEST_COPY, *folder.glob(f"*{_UNUSABLE}")]:
        path.unlink(missing_ok=True)


def bytes_on_disk(folder: Path) -> int:
    """Bytes that the checkpoints of a run take."""
    return sum(path.stat().st_size for name in _NAMES if (path := folder / name).exists())


def _keep_as_best(path: Path) -> None:
    for name in (BEST, BEST_COPY):
        if name != path.name:
            _copy(path, path.with_name(name))


def _can_go_on(state: dict[str, Any] | None, states: dict[str, dict[str, Any] | None]) -> bool:
    return state is not None and (state["best"] is None or _best_of(state, states) is not None)


def _best_of(state: dict[str, Any], states: dict[str, dict[str, Any] | None]) -> str | None:
    """The checkpoint that was saved as the best one of a state, ``BEST`` itself if it is; None if there is none."""
    for name in sorted(states, key=lambda name: name != BEST):
        other = states[name]
        scored_so = other is not None and other["is_best"] and other["best"] == state["best"]
        if scored_so and other["updates"] == state.get("best_updates", other["updates"]):  # a score may come twice
            return name
    return None


def _extra_state(path: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """What the driver keeps in a checkpoint, or None if the file is not there or is damaged."""
    if not path.exists():
        return None
    try:
        loaded = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        return loaded["extra_state"] | {"updates": loaded["optimizer_history"][-1]["num_updates"]}
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise UserError(f"{path}: does not fit into memory while it is read; ask for more memory") from error
        # torch's reader says EINVAL of a truncated file; any other failure to read is no reason to give it up
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        say(f"warning: {path} is damaged and will not be used ({first_line(error)})")
        return None


def second_name(source: Path, target: Path) -> None:
    """Give ``source`` a second name, replacing ``target`` in one step."""
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
    """Copy a file, replacing ``target`` in one step once all of it is on the disk."""
    with source.open("rb") as reader, atomic_write(target, "wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 22)


def first_line(error: BaseException) -> str:
    """An error's message, cut to what fits into one of ours."""
    text = str(error).strip().split("\n")[0]
    # torch goes on with advice to load the file without its safety
    return text.partition("Re-running")[0].strip()[:200] or type(error).__name__
