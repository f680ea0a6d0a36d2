"""The workflow that benchmarks/faults.py injects faults into: its controller, its steps, and their SLURM jobs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
for _folder in ("workflow_scripts", "tests/support"):
    sys.path.insert(0, str(ROOT / _folder))

from ekd_nmt.common.errors import UserError  # noqa: E402

RESUMABLE = ("train.py", "cache_teacher.py", "translate.py")
GRACE = 2.0  # seconds of updates before a training may be hit; otherwise it might never end
CORPUS_FAULTS = 2  # at most, while the corpus is made, whose short steps start from scratch
START = 10  # seconds before a controller may be hit, up to three times as many
PATIENCE = 240  # seconds for a command of SLURM or Snakemake, or for a process to end


@dataclass(frozen=True)
class Planned:
    """A future fault: ``wait`` seconds after the previous one, then as soon as there is a target.

    ``rank`` selects the target among the candidates and ``detail`` varies the rest; both are drawn from [0, 1).
    """

    number: int
    kind: str
    wait: float
    rank: float
    detail: float


@dataclass(frozen=True)
class Hit:
    """What a fault has hit: a description, and the processes and SLURM jobs that it may have ended."""

    what: str
    pids: list[int] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """An injected fault, with its begin and end in seconds since the epoch."""

    planned: Planned
    began: float
    ended: float
    hit: Hit


@dataclass(frozen=True)
class Worker:
    """A process of a step. ``age`` is in seconds; ``updating`` is the time since a training began its updates."""

    pid: int
    job: str | None
    script: str
    output: str
    age: float
    updating: float | None

    @property
    def description(self) -> str:
        """Script, place, process and job."""
        place = self.output.removeprefix("results/")
        return f"{self.script} {place}, process {self.pid}" + (f" of job {self.job}" if self.job else "")


def processes(folder: Path) -> list[psutil.Process]:
    """The processes with this working directory, without zombies."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Target:
    """The running workflow.

    Args:
        folder: a copy of the project, in which it runs.
        arguments: of Snakemake.
        logs: folder for the output of Snakemake.
        cluster: the SLURM cluster, or None to run processes on this machine.
    """

    def __init__(self, folder: Path, arguments: list[str], logs: Path, cluster: Any = None) -> None:
        self.folder, self.arguments, self.logs, self.cluster = folder.resolve(), arguments, logs, cluster
        kept = os.environ if cluster is None else cluster.environment
        kept = {name: value for name, value in kept.items() if not name.startswith(("EKD_", "SNAKEMAKE_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
        self.environment = kept | {"OMP_NUM_THREADS": "1", "PATH": path}
        self.controller: subprocess.Popen | None = None
        self.started = 0.0
        self.controllers = 0
        self.hit: set[int] = set()  # processes that a fault will end, perhaps with a delay
        self.corpus_faults = 0

    def start(self) -> None:
        """Start a controller."""
        self.controllers += 1
        command = [sys.executable, "-m", "snakemake", *self.arguments]
        with (self.logs / f"controller-{self.controllers}.log").open("w") as log:
            # in its own session, so that Ctrl-C does not reach it
            self.controller = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.started = time.monotonic()

    def recover(self, how: str) -> None:
        """Run ``make recover`` without its restart.

        ``--keep`` is refused beside short steps, so it is repeated until these have ended.

        Raises:
            UserError: it fails.
        """
        command = [sys.executable, "workflow_scripts/recover.py", how, "--no-restart", "--", *self.arguments]
        place = {"cwd": self.folder, "env": self.environment, "capture_output": True, "text": True}
        end = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(command, **place, timeout=2 * PATIENCE)
            if done.returncode == 0 or how != "--keep" or time.monotonic() > end:
                break
            time.sleep(1)
        with (self.logs / "recover.log").open("a", encoding="utf-8") as log:
            log.write(f"$ recover.py {how}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            raise UserError(f"recover.py {how} failed: {(done.stderr or done.stdout).strip()}; see {self.logs}")

    def close(self) -> None:
        """Kill the controller and all processes in the folder; jobs of a cluster end with the cluster."""
        if self.controller is not None:
            self.controller.kill()
            self.controller.wait()
        while running := processes(self.folder):
            for process in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.2)

    def slurm(self, *words: str) -> str:
        """Standard output of a SLURM command; raises RuntimeError."""
        return self.cluster.command(*words)

    def running_jobs(self) -> list[str]:
        """Ids of running SLURM jobs, oldest first; none without a cluster."""
        if self.cluster is None:
            return []
        return sorted(self.slurm("squeue", "--noheader", "--states=RUNNING", "--format=%i").split(), key=int)

    def release_held_jobs(self) -> None:
        """Do what an administrator does after a node failure.

        SLURM delays a requeued job by two minutes. If old steps of a job are still running when it is restarted, SLURM
        drains the node and holds the job.
        """
        if self.cluster is None:
            return
        with contextlib.suppress(RuntimeError):
            for line in self.slurm("sinfo", "--noheader", "--Node", "--format=%N|%T").splitlines():
                node, state = line.split("|")
                if state.startswith("drain"):
                    self.slurm("scontrol", "update", f"nodename={node}", "state=resume")
            for line in self.slurm("squeue", "--noheader", "--states=PENDING", "--format=%i|%r").splitlines():
                job, reason = line.split("|")
                if reason == "BeginTime":
                    self.slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
                elif reason == "launch failed requeued held":
                    self.slurm("scontrol", "release", job)

    def workers(self) -> list[Worker]:
        """The running steps, oldest first, without those that a fault has already hit."""
        found = []
        for process in processes(self.folder):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if process.pid not in self.hit and len(words) > 1 and words[1].startswith("workflow_scripts/"):
                    output = next((value for name, value in itertools.pairwise(words) if name == "--output"), "")
                    age = max(0.0, time.time() - process.create_time())
                    job = process.environ().get("SLURM_JOB_ID")
                    updating = self._updating(process.pid, output)
                    found.append(Worker(process.pid, job, Path(words[1]).name, output, age, updating))
        return sorted(found, key=lambda worker: (-worker.age, worker.pid))

    def _updating(self, pid: int, output: str) -> float | None:
        for path in (self.folder / output).glob("progress/*/attempts.jsonl"):
            last = path.read_text(encoding="utf-8").splitlines()[-1:]
            with contextlib.suppress(ValueError):  # a line truncated by a kill
                if last and json.loads(last[0])["pid"] == pid:
                    return time.time() - json.loads(last[0])["time"]
        return None

    def trainings(self) -> list[Worker]:
        """Trainings that may be hit, after :data:`GRACE` seconds of updates."""
        return [worker for worker in self.workers() if (worker.updating or 0) >= GRACE]

    def others(self, detail: float) -> list[Worker]:
        """Teacher caching and translation after 1 to 8 seconds, so that any phase may be hit."""
        return [worker for worker in self.workers() if worker.script in RESUMABLE[1:] and worker.age >= 1 + 7 * detail]

    def may_fall(self, detail: float) -> bool:
        """Whether the controller or the node may be hit: the controller has started up, and steps are running.

        While the corpus is made, this is allowed :data:`CORPUS_FAULTS` times.
        """
        if self.controller is None or time.monotonic() - self.started < START * (1 + 2 * detail):
            return False
        workers = self.workers()
        if any(worker.script in RESUMABLE for worker in workers):
            return any((worker.updating or 0) >= GRACE for worker in workers) or detail < 0.3
        if not workers or self.corpus_faults >= CORPUS_FAULTS:
            return False
        self.corpus_faults += 1
        return True
