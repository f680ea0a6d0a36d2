"""What runs on after a controller was killed: jobs of SLURM, and steps on this machine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ekd_nmt.cluster.processes import Process, steps
from ekd_nmt.cluster.rule_table import LEASED
from ekd_nmt.common.errors import UserError

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
    def is_leased(self) -> bool:
        """Whether a second copy waits for it; not so a group of rules, such as the whole corpus."""
        rule, _, _ = self.comment.partition("_wildcards_")
        return rule in {f"rule_{name}" for name in LEASED}


@dataclass(frozen=True)
class Orphans:
    """What runs in a folder without a controller.

    Attributes:
        jobs: of SLURM, submitted by Snakemake.
        others: the user's other jobs of SLURM that work in the folder; they are left alone.
        problem: why the jobs of SLURM are not known, or None.
        processes: steps on this machine outside of these jobs → a description of each.
    """

    jobs: list[Job]
    others: list[Job]
    problem: str | None
    processes: dict[Process, str]

    @property
    def may_miss_jobs(self) -> bool:
        """Whether there is a SLURM that gives no answer."""
        return self.problem not in (None, ABSENT)

    @property
    def running(self) -> list[str]:
        """Descriptions of all jobs and processes that can be stopped."""
        return [*map(str, self.jobs), *(f"process {each.pid}, {step}" for each, step in self.processes.items())]


def queue(folder: Path) -> tuple[list[Job], list[Job], str | None]:
    """This user's jobs of SLURM in a folder: those of Snakemake, others, and why these are not known.

    Snakemake's executor sets a comment, ``rule_NAME_wildcards_…``.
    """
    command = ["squeue", "--me", "--noheader", f"--format={FORMAT}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=QUERY_SECONDS)
    except FileNotFoundError:
        return [], [], ABSENT
    except (OSError, subprocess.SubprocessError) as error:
        printed = getattr(error, "stderr", None) or ""
        reason = printed.strip().splitlines()[-1:] or [getattr(error, "strerror", None) or str(error)]
        return [], [], f"squeue failed: {reason[0]}"
    own: list[Job] = []
    others: list[Job] = []
    for line in answer.stdout.splitlines():
        number, state, elapsed, name, rest = [*map(str.strip, line.split("|", 4)), *[""] * 5][:5]
        place, _, comment = rest.rpartition("|")
        if place and Path(place).resolve() == folder:
            job = Job(number, state, elapsed, name, "" if comment == "(null)" else comment)
            (own if comment.startswith("rule_") else others).append(job)
    return own, others, None


def find_orphans(folder: Path) -> Orphans:
    """What runs of the workflow in a folder. The processes of a listed job are not listed again."""
    jobs, others, problem = queue(folder)
    numbers = {job.id for job in (*jobs, *others)}
    running = {process: step for process, step in steps(folder).items() if process.job not in numbers}
    return Orphans(jobs, others, problem, running)


def refuse_second_copies(orphans: Orphans, folder: Path) -> None:
    """Check that a second copy of each running job or step would wait for it.

    Raises:
        UserError: one of them holds no lease.
    """
    numbers = {job.id for job in orphans.jobs}
    found = [str(job) for job in orphans.jobs if not job.is_leased]
    for process, step in steps(folder).items():
        if process.job not in numbers and not process.is_leased:
            found.append(f"process {process.pid}, {step}")
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(
            f"{found[0]}{more}: a second copy would not wait for it, but write the same files at the same time; wait "
            "for its end and run again, or stop it (make recover YES=1 stops all that Snakemake started)"
        )
