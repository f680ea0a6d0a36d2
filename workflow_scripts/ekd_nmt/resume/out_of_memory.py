"""Work that did not fit into memory goes on in smaller pieces: what is remembered of it, and how a kill tells of it.

A training that runs out of a GPU's memory can say so itself. One that the kernel kills for want of memory cannot; the
next attempt finds it out: from SLURM, or from the kernel's count of such kills in the memory group (cgroup) of the dead
process. Either way the attempt after it splits each batch into twice as many parts, whose gradients add up to the same
update.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import write_json

FILE = "out_of_memory.json"
MOST_HALVINGS = 6  # a batch in 64 parts; what does not fit then will not fit at all
_GROUPS, _SELF, _BOOT = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/sys/kernel/random/boot_id")
# of torch on a GPU and on a CPU, and of two libraries of CUDA
_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_ASK_SECONDS = 20


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of a GPU or of the machine, did not suffice."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
    )


def read(progress: Path) -> list[dict[str, Any]]:
    """What has happened so far in a folder of unfinished work, an entry a halving: ``time``, ``update``, ``cause``."""
    try:
        entries = json.loads((progress / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UserError(f"{progress / FILE}: is damaged ({error}); delete it and run again") from error
    return entries


def add(progress: Path, cause: str, update: int | None, halvings: int) -> None:
    """Remember that memory did not suffice.

    Args:
        progress: folder of the unfinished work.
        cause: what happened, for the reader of the provenance.
        update: updates made before, if that is known.
        halvings: how many there were in what did not suffice; another rank may have remembered it already.

    Raises:
        UserError: batches cannot become any smaller.
    """
    entries = read(progress)
    if len(entries) > halvings:
        return
    if halvings >= MOST_HALVINGS:
        raise UserError(
            f"{progress}: {cause}, though batches are halved {MOST_HALVINGS} times already; ask for more memory, "
            "choose a smaller model, or lower data.filter.max_tokens"
        )
    write_json(progress / FILE, [*entries, {"time": round(time.time(), 2), "update": update, "cause": cause}])


def record_oom_kill(owner: Mapping[str, Any] | None, progress: Path) -> None:
    """If the attempt before this one was killed for want of memory, have this one use less.

    Args:
        owner: what that attempt left, :attr:`claims.Claim.previous`.
        progress: folder of the unfinished work.
    """
    cause = owner and killed_for_memory(owner, os.environ.get("SLURM_JOB_ID"))
    if cause:
        add(progress, cause, None, len(read(progress)))


def kill_counter() -> dict[str, Any] | None:
    """Where the kernel counts the kills for want of memory among this process's group, and how many there were.

    Returns:
        ``host``, ``boot`` (identifier), ``file`` and ``count``; None where there is no such file.
    """
    try:
        for line in _SELF.read_text(encoding="ascii").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                file = _GROUPS / path.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                file = _GROUPS / "memory" / path.lstrip("/") / "memory.oom_control"
            else:
                continue
            if (count := _count(file)) is not None:
                boot = _BOOT.read_text(encoding="ascii").strip()
                return {"host": socket.gethostname(), "boot": boot, "file": str(file), "count": count}
    except (OSError, ValueError):
        pass
    return None


def _count(file: Path) -> int | None:
    try:
        found = re.search(r"^oom_kill (\d+)$", file.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def killed_for_memory(owner: Mapping[str, Any], job: str | None) -> str | None:
    """Why it seems that a killed process was killed for want of memory; None if nothing says so.

    Args:
        owner: what the process left, ``owner.json`` of :mod:`claims`.
        job: SLURM job of this process, if any: of its own the state says nothing yet.
    """
    if owner.get("job") and owner["job"] != job and _job_state(owner["job"]) == "OUT_OF_MEMORY":
        return f"SLURM job {owner['job']} was killed for want of memory"
    before, now = owner.get("kills"), kill_counter()
    if before and now and all(before[key] == now[key] for key in ("host", "boot")):
        count = _count(Path(before["file"]))
        if count is not None and count > before["count"]:
            return f"the kernel of {now['host']} killed process {owner['pid']} for want of memory"
    return None


def _job_state(job: str) -> str | None:
    for command in (
        ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job}"],
        ["scontrol", "--oneliner", "show", "job", job],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):  # no such command, or no such job any more
            continue
        if found := re.search(r"(?:^|JobState=)([A-Z_]{4,})", done.stdout):
            return found[1]
    return None
