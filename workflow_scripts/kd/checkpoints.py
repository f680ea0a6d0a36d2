"""Checkpoint files: what makes one unreadable, which of a run's two to go on from, and how they are replaced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from fairseq import checkpoint_utils

# what torch and fairseq raise for truncated, foreign and unsafe files
UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, AttributeError, TypeError, ValueError, UnpicklingError)

LAST, BEST = "checkpoint_last.pt", "checkpoint_best.pt"


def newest_as_last(folder: Path, say: Callable[[str], None]) -> bool:
    """See to it that ``LAST`` is the newest checkpoint that can be read; False if there is none.

    A run can go on from the best checkpoint as from the last one, only that it repeats more. It cannot go on without
    it: that is what becomes the model.
    """
    last, best = (_extra_state(folder / name, say) for name in (LAST, BEST))
    if last is not None and (best is not None or last["best"] is None):
        return True
    if best is not None:
        say(f"taking {folder / BEST} instead; the epochs after it are repeated")
        second_name(folder / BEST, folder / LAST)
        return True
    if (folder / LAST).exists():
        say(f"warning: {folder}: no usable checkpoint is left; training starts anew")
        (folder / LAST).unlink()
    return False


def _extra_state(path: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """What the driver keeps in a checkpoint, or None if the file is not there or is damaged."""
    if not path.exists():
        return None
    try:
        return checkpoint_utils.load_checkpoint_to_cpu(str(path))["extra_state"]
    except UNREADABLE as error:
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
        temporary.write_bytes(source.read_bytes())
    os.replace(temporary, target)


def first_line(error: BaseException) -> str:
    """An error's message, cut to what fits into one of ours."""
    text = str(error).strip().split("\n")[0]
    # torch goes on with advice to load the file without its safety
    return text.partition("Re-running")[0].strip()[:200] or type(error).__name__
