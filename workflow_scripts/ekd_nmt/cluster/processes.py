"""The processes of the workflow on this machine: its controllers, which are Snakemakes, and its steps."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ekd_nmt.cluster.rule_table import LEASED
from ekd_nmt.common.errors import UserError

_PYTHON = re.compile(r"python[0-9.]*")
_RECOVER = "recover.py"  # becomes a controller in the end
# calls of Snakemake that run nothing
_READ_ONLY = {"-n", "--dry-run", "--dryrun", "--unlock", "--lint", "--dag", "--rulegraph", "--summary", "--report"}
_OUTPUT = re.compile(r"--(?:output|csv|report)\S* \S+")  # distinguishes a step from others


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
        """Whether a second copy of this step waits for it: it does nothing but what rules of :data:`LEASED` do."""
        if self.snakemake is None:
            return Path(self._script or "").stem in LEASED
        return bool(self._targets) and all(job.partition(":")[0] in LEASED for job in self._targets)

    def step(self, folder: Path) -> str | None:
        """A description of the step that it runs for the workflow of ``folder``; None if it runs none."""
        options = self.snakemake
        if options is not None:
            return f"snakemake {' '.join(self._targets)}" if "--mode" in options else None
        path = os.path.normpath(folder / self._script) if self._script is not None else ""
        name = os.path.basename(path)
        if os.path.dirname(path) != str(folder / "workflow_scripts") or name == _RECOVER:
            return None
        return " ".join([name, *_OUTPUT.findall(" ".join(self.arguments))[:1]])

    @property
    def _targets(self) -> list[str]:
        """The jobs that a Snakemake of a job runs, such as ``train:seed=1``."""
        after = itertools.dropwhile(lambda word: word != "--target-jobs", self.arguments)
        return list(itertools.takewhile(lambda word: not word.startswith("-"), itertools.islice(after, 1, None)))

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


def refuse_beside_controller(folder: Path) -> None:
    """Check that no Snakemake runs a workflow in ``folder`` on this machine, except ancestors of this process.

    Raises:
        UserError: one does.
    """
    for process in processes(folder):
        if process.is_controller:
            raise UserError(
                f"{folder}: Snakemake runs here, process {process.pid} on {os.uname().nodename}; wait for its end or "
                f"stop it (kill -INT {process.pid}), and run again"
            )


def steps(folder: Path) -> dict[Process, str]:
    """The steps of the workflow of ``folder`` that run on this machine → a description of each."""
    folder = folder.resolve()
    found = {process: process.step(folder) for process in processes(folder)}
    return {process: step for process, step in found.items() if step is not None}
