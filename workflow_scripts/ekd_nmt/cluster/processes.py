"""The processes of the workflow on this machine: its controllers, which are Snakemakes, and its steps."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ekd_nmt.cluster.rule_table import LEASED

_PYTHON = re.compile(r"python[0-9.]*")
_RECOVER = "recover.py"  # becomes a controller in the end
# calls of Snakemake that run nothing
_READ_ONLY = {"-n", "--dry-run", "--dryrun", "--unlock", "--lint", "--dag", "--rulegraph", "--summary", "--report"}
_OUTPUTS = ("--output", "--output-dir", "--output-source", "--csv", "--report")  # distinguish a step from others


@dataclass(frozen=True)
class Process:
    """A process, and what can be read from its command line."""

    handle: psutil.Process  # equal to another if it is the same process, also when its number was given out again
    arguments: tuple[str, ...] = field(compare=False)
    job: str | None = field(default=None, compare=False)  # of SLURM, that it runs in

    @property
    def pid(self) -> int:
        """Its number."""
        return self.handle.pid

    @property
    def snakemake(self) -> tuple[str, ...] | None:
        """The arguments of Snakemake, or None if it is no Snakemake."""
        for number, argument in enumerate(self.arguments[:5]):
            if os.path.basename(argument) == "snakemake":
                before = [os.path.basename(each) for each in self.arguments[:number]]
                python = not before or (_PYTHON.fullmatch(before[0]) and all(each[0] == "-" for each in before[1:]))
                return self.arguments[number + 1 :] if python else None
        return None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return "Snakemake" if self.snakemake is not None else os.path.basename(self._script or self.arguments[0])

    @property
    def is_controller(self) -> bool:
        """Whether it is a Snakemake that runs a workflow, or will become one; not so one that runs a single job."""
        options = self.snakemake
        if options is None:
            return os.path.basename(self._script or "") == _RECOVER
        return "--mode" not in options and not _READ_ONLY & set(options)

    @property
    def is_rank(self) -> bool:
        """Whether it belongs to a training on several GPUs whose leader, another process, stops it."""
        return "--outcomes" in self.arguments

    @property
    def is_leased(self) -> bool:
        """Whether a second copy of this step waits for it: all rules that it runs are leased."""
        options = self.snakemake
        if options is None:
            return Path(self._script or "").stem in LEASED
        after = options[options.index("--target-jobs") + 1 :] if "--target-jobs" in options else ()
        jobs = list(itertools.takewhile(lambda word: not word.startswith("-"), after))
        return bool(jobs) and all(job.partition(":")[0] in LEASED for job in jobs)

    def step(self, folder: Path) -> str | None:
        """A description of the step that it runs for the workflow of ``folder``; None if it runs none."""
        options = self.snakemake
        if options is not None:
            return f"snakemake {_value(options, ('--target-jobs',))}" if "--mode" in options else None
        path = os.path.normpath(folder / self._script) if self._script is not None else ""
        name = os.path.basename(path)
        if os.path.dirname(path) != str(folder / "workflow_scripts") or name == _RECOVER:
            return None
        return f"{name} {_value(self.arguments, _OUTPUTS)}".rstrip()

    @property
    def _script(self) -> str | None:
        """The first command of a workflow on the command line of a Python; torchrun's own script is none."""
        if not _PYTHON.fullmatch(os.path.basename(self.arguments[0])):
            return None
        return next((each for each in self.arguments[1:] if re.search(r"(^|/)workflow_scripts/\w+\.py$", each)), None)


def processes(folder: Path) -> list[Process]:
    """The readable processes whose working folder is ``folder``, except this one and its ancestors."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    psutil.process_iter.cache_clear()  # numbers may have been given out again
    return [
        Process(each, tuple(each.info["cmdline"]), (each.info["environ"] or {}).get("SLURM_JOB_ID"))
        for each in psutil.process_iter(["cwd", "cmdline", "environ", "create_time"])
        if each.pid not in own and each.info["cwd"] == str(folder.resolve()) and each.info["cmdline"]
    ]


def controllers(folder: Path) -> list[Process]:
    """The Snakemakes that run a workflow in ``folder`` on this machine, except ancestors of this process."""
    return [process for process in processes(folder) if process.is_controller]


def steps(folder: Path) -> dict[Process, str]:
    """The steps of the workflow of ``folder`` that run on this machine → a description of each."""
    folder = folder.resolve()
    found = {process: process.step(folder) for process in processes(folder)}
    return {process: step for process, step in found.items() if step is not None}


def _value(arguments: tuple[str, ...], names: tuple[str, ...]) -> str:
    """The first of some options on a command line with its value, or nothing."""
    for name, value in itertools.pairwise(arguments):
        if name in names:
            return value if name == "--target-jobs" else f"{name} {value}"
    return ""
