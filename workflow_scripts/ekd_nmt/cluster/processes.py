"""The processes of the workflow on this machine: its controllers and its steps, as /proc shows them."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
# rules whose steps, scripts of the same names, claim what they write: a second copy of one waits for the first
CLAIMING = frozenset({"cache_teacher", "fetch", "train", "translate"})
_PYTHON = re.compile(r"python[0-9.]*")
# scripts that are no steps of a workflow
_TOOLS = {"build_env.py", "document_config.py", "draw_dag.py", "lock_env.py"}
_RECOVERY = "recover.py"  # ends as a controller
TORCHRUN = "torchrun_entry.py"  # runs another script, which is the step
# calls of Snakemake that run nothing
_LOOKING = {"-n", "--dry-run", "--dryrun", "--unlock", "--lint", "--dag", "--rulegraph", "--summary", "--report"}
_PLACES = ("--output", "--output-dir", "--output-source", "--csv", "--report")  # what tells one step from another


@dataclass(frozen=True)
class Process:
    """A process; equal to another if it is the same one, also when its number was given anew."""

    pid: int
    ticks: int  # from the start of the machine to its own
    arguments: tuple[str, ...] = field(compare=False)
    job: str | None = field(default=None, compare=False)  # of SLURM, that it runs in

    @property
    def snakemake(self) -> tuple[str, ...] | None:
        """What it gave Snakemake on the command line, or None if it is no Snakemake."""
        for number, argument in enumerate(self.arguments[:5]):
            if os.path.basename(argument) == "snakemake":
                before = [os.path.basename(each) for each in self.arguments[:number]]
                python = not before or (_PYTHON.fullmatch(before[0]) and all(each[0] == "-" for each in before[1:]))
                return self.arguments[number + 1 :] if python else None
        return None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return "Snakemake" if self.snakemake is not None else os.path.basename(self._script or self.arguments[0])

    @property
    def is_controller(self) -> bool:
        """Whether it is a Snakemake that runs a workflow, or is about to become one.

        One that Snakemake has started for a single job is not.
        """
        given = self.snakemake
        if given is None:
            return os.path.basename(self._script or "") == _RECOVERY
        return "--mode" not in given and not _LOOKING & set(given)

    @property
    def is_led(self) -> bool:
        """Whether it is part of a training on several GPUs, which another process leads and tells when to stop."""
        return "--outcomes" in self.arguments

    @property
    def is_claimed(self) -> bool:
        """Whether a second copy of this step waits for it: all that it does is of :data:`CLAIMING`."""
        given = self.snakemake
        if given is None:
            return Path(self._script or "").stem in CLAIMING
        after = given[given.index("--target-jobs") + 1 :] if "--target-jobs" in given else ()
        jobs = list(itertools.takewhile(lambda word: not word.startswith("-"), after))
        return bool(jobs) and all(job.partition(":")[0] in CLAIMING for job in jobs)

    def step(self, folder: Path) -> str | None:
        """What it does for the workflow of ``folder``, in a few words; None if it is no job and no controller of it."""
        given = self.snakemake
        if given is not None:
            return f"snakemake {_value(given, ('--target-jobs',))}" if "--mode" in given else None
        path = os.path.normpath(folder / self._script) if self._script is not None else ""
        name = os.path.basename(path)
        if os.path.dirname(path) != str(folder / "workflow_scripts") or name in {*_TOOLS, _RECOVERY}:
            return None
        return f"{name} {_value(self.arguments, _PLACES)}".rstrip()

    @property
    def _script(self) -> str | None:
        """The first script of a workflow on the command line of a Python, or the one that it has torchrun run."""
        if not _PYTHON.fullmatch(os.path.basename(self.arguments[0])):
            return None
        scripts = (each for each in self.arguments[1:] if re.search(r"(^|/)workflow_scripts/\w+\.py$", each))
        return next((each for each in scripts if os.path.basename(each) != TORCHRUN), None)


def processes(folder: Path) -> list[Process]:
    """The processes that work in ``folder`` and may be looked at, but for this one and those that it was started by."""
    folder = folder.resolve()
    own = _ancestors()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdecimal() or int(entry.name) in own:
            continue
        try:
            if os.readlink(entry / "cwd") != str(folder) or (stat := _stat(entry)) is None:
                continue
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            environment = (entry / "environ").read_bytes()
        except OSError:  # another user's, or gone
            continue
        job = re.search(rb"(?:^|\0)SLURM_JOB_ID=(\d+)", environment)
        found.append(Process(int(entry.name), stat[1], tuple(arguments), job and job.group(1).decode()))
    return sorted(found, key=lambda process: process.pid)


def controllers(folder: Path) -> list[Process]:
    """The Snakemakes that run a workflow in ``folder`` on this machine, but for one that started this process."""
    return [process for process in processes(folder) if process.is_controller]


def steps(folder: Path) -> dict[Process, str]:
    """The steps of the workflow of ``folder`` that run on this machine → what each does."""
    folder = folder.resolve()
    found = {process: process.step(folder) for process in processes(folder)}
    return {process: task for process, task in found.items() if task is not None}


def started_at(pid: int) -> float | None:
    """When a process of this machine started, in seconds since the epoch; None if it is not there or has ended."""
    stat = _stat(PROC / str(pid))
    if stat is None:
        return None
    boot = re.search(r"^btime (\d+)$", (PROC / "stat").read_text(), re.MULTILINE)
    return int(boot.group(1)) + stat[1] / os.sysconf("SC_CLK_TCK")


def _stat(entry: Path) -> tuple[int, int] | None:
    """Parent and start, in ticks, of a process; None if it has ended, though its parent may not have noticed yet."""
    try:
        # the name of the program stands in parentheses and may hold anything
        state, parent, *others = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else (int(parent), int(others[17]))


def _ancestors() -> set[int]:
    pid, found = os.getpid(), set()
    while pid and pid not in found:
        found.add(pid)
        stat = _stat(PROC / str(pid))
        pid = stat[0] if stat is not None else 0
    return found


def _value(arguments: tuple[str, ...], names: tuple[str, ...]) -> str:
    """The first of some options on a command line with its value, or nothing."""
    for name, value in itertools.pairwise(arguments):
        if name in names:
            return value if name == "--target-jobs" else f"{name} {value}"
    return ""
