"""What a killed controller has left running: jobs of SLURM, steps on this machine, and what is claimed elsewhere."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ekd_nmt.cluster.processes import CLAIMING, Process, steps
from ekd_nmt.common.errors import UserError
from ekd_nmt.resume.work_folder import living_owner, progress_folders

BUILT = ("results", "resources")  # where steps write
QUERY_SECONDS = 60.0  # SLURM may take so long to answer
ABSENT = "there is no squeue on this machine"
FORMAT = "%A|%T|%M|%j|%Z|%k"  # id, state, time, name, folder, comment


class Job(NamedTuple):
    """A job of SLURM."""

    id: str
    state: str
    time: str
    name: str
    comment: str

    def __str__(self) -> str:
        return f"SLURM job {self.id}, {self.state.lower()}, {self.time}, {self.comment or self.name}"

    @property
    def is_claimed(self) -> bool:
        """Whether a second copy waits for it; not so a group of rules, such as the whole corpus."""
        rule, _, _ = self.comment.partition("_wildcards_")
        return rule in {f"rule_{name}" for name in CLAIMING}


@dataclass(frozen=True)
class Left:
    """What a controller has left behind in a folder.

    Attributes:
        jobs: of SLURM, that it submitted.
        others: the user's other jobs of SLURM that work in the folder; they are left alone.
        problem: why nothing is known of SLURM's jobs, or None.
        processes: steps that run on this machine outside of these jobs → what each does.
        claims: folders of unfinished work that a living process of elsewhere has → its ``owner.json``.
    """

    jobs: list[Job]
    others: list[Job]
    problem: str | None
    processes: dict[Process, str]
    claims: dict[Path, dict[str, Any]]

    @property
    def is_blind(self) -> bool:
        """Whether jobs may run that cannot be seen, because SLURM is here and gives no answer."""
        return self.problem not in (None, ABSENT)


def queue(folder: Path, prefix: str) -> tuple[list[Job], list[Job], str | None]:
    """This user's jobs of SLURM that work in a folder: the workflow's, others, and why these are not known."""
    command = ["squeue", "--me", "--noheader", f"--format={FORMAT}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=QUERY_SECONDS)
    except FileNotFoundError:
        return [], [], ABSENT
    except OSError as error:
        return [], [], f"squeue failed: {error.strerror}"
    except subprocess.TimeoutExpired:
        return [], [], f"squeue gave no answer for {QUERY_SECONDS:g} s"
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        return [], [], f"squeue failed: {reason}"
    own, others = [], []
    for line in answer.stdout.splitlines():
        number, state, elapsed, name, rest = [*map(str.strip, line.split("|", 4)), *[""] * 5][:5]
        place, _, comment = rest.rpartition("|")
        if place and Path(place).resolve() == folder:
            job = Job(number, state, elapsed, name, "" if comment == "(null)" else comment)
            # the comment is the executor's, also with another prefix
            (own if name.startswith(f"{prefix}_") or comment.startswith("rule_") else others).append(job)
    return own, others, None


def look(folder: Path, prefix: str) -> Left:
    """What is left running of the workflow in a folder; a job of SLURM is not listed again as a process or a claim."""
    jobs, others, problem = queue(folder, prefix)
    numbers = {job.id for job in (*jobs, *others)}
    running = {process: task for process, task in steps(folder).items() if process.job not in numbers}
    here = {process.pid for process in running}
    claims = {}
    for progress in (each for experiment in _experiments() for each in progress_folders(experiment)):
        owner = living_owner(progress)
        listed = owner is None or str(owner.get("job")) in numbers
        if not listed and not (owner.get("host") == os.uname().nodename and owner.get("pid") in here):
            claims[progress] = owner
    return Left(jobs, others, problem, running, claims)


def refuse_second_copies(left: Left, folder: Path) -> None:
    """Go on beside what runs only if a second copy of it would wait for the first.

    Raises:
        UserError: something runs that claims nothing.
    """
    numbers = {job.id for job in left.jobs}
    others = {process: task for process, task in steps(folder).items() if process.job not in numbers}
    left_alone = {job.id for job in left.others}
    found = {str(job): True for job in left.jobs if not job.is_claimed}
    for process, task in others.items():
        if not process.is_claimed:
            found[f"process {process.pid}, {task}"] = process.job not in left_alone
    for first, stoppable in found.items():
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(
            f"{first}{more}: a second copy would not wait for it, but write the same files at the same time; wait for "
            f"its end and run again, or stop {'all of the above (make recover YES=1)' if stoppable else 'it'}"
        )


def _experiments() -> list[Path]:
    return sorted(path for path in Path(BUILT[0]).glob("*") if path.is_dir() and not path.is_symlink())
