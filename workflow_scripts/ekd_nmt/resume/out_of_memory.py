"""How to recognise that a process ran out of memory.

A training that runs out of a GPU's memory raises an error. One that the kernel kills cannot; the next attempt finds it
out: from SLURM, or from the kernel's count of such kills in the memory group (cgroup) of the dead process.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ekd_nmt.resume.lease import Owner

_GROUPS, _SELF, _BOOT = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/sys/kernel/random/boot_id")
# of torch on a GPU and on a CPU, and of two libraries of CUDA
_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_QUERY_SECONDS = 20


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a GPU or the machine ran out of memory."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
    )


def oom_kill_count() -> dict[str, Any] | None:
    """How many processes of this process's memory group the kernel has killed because memory ran out.

    Returns:
        ``count``, and where it was read: ``host``, ``boot`` (identifier) and ``file``. None if there is no such file.
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


def killed_for_memory(owner: Owner) -> str | None:
    """Why it seems that a killed process had run out of memory; None if nothing indicates it.

    SLURM is not asked about the job of this process itself: its state does not show the kill yet.
    """
    if owner.job not in (None, os.environ.get("SLURM_JOB_ID")) and _job_state(owner.job) == "OUT_OF_MEMORY":
        return f"SLURM job {owner.job} ran out of memory, and SLURM killed it"
    before, now = owner.oom_kills, oom_kill_count()
    if before and now and all(before[key] == now[key] for key in ("host", "boot")):
        count = _count(Path(before["file"]))
        if count is not None and count > before["count"]:
            process = "a rank" if owner.pid is None else f"process {owner.pid}"
            return f"{process} ran out of memory, and the kernel of {now['host']} killed it"
    return None


def _job_state(job: str) -> str | None:
    for command in (
        ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job}"],
        ["scontrol", "--oneliner", "show", "job", job],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):  # no such command, or the job is no longer known
            continue
        if found := re.search(r"(?:^|JobState=)([A-Z_]{4,})", done.stdout):
            return found[1]
    return None
