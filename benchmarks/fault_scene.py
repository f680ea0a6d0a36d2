"""The workflow that benchmarks/faults.py disturbs: its controller, its steps, and the jobs that they run in."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
for _folder in ("workflow_scripts", "tests/support"):
    sys.path.insert(0, str(ROOT / _folder))

from ekd_nmt.cluster.processes import Process, processes  # noqa: E402
from ekd_nmt.common.errors import UserError  # noqa: E402

LONG = ("train.py", "cache_teacher.py", "translate.py")  # steps that go on where they were
GRACE = 2.0  # seconds of updates that a training has before it is hit again; otherwise it would never end
CORPUS_FAULTS = 2  # as many at most while the corpus is made, whose steps are short and start afresh
START = 10  # seconds that a controller has, and up to three times as many
PATIENCE = 240  # seconds for a command of SLURM's, of Snakemake's, or for a process to end


@dataclass(frozen=True)
class Planned:
    """A fault to come: ``wait`` seconds after the one before, then as soon as there is something to hit.

    ``rank`` and ``detail`` are drawn from [0, 1): which of the candidates is hit, and whatever else varies.
    """

    number: int
    kind: str
    wait: float
    rank: float
    detail: float


@dataclass(frozen=True)
class Hit:
    """What a fault has hit: in words, and the processes and SLURM jobs that it may have ended."""

    what: str
    pids: list[int] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """A fault that was carried out, with the seconds since the epoch at which that began and ended."""

    planned: Planned
    began: float
    ended: float
    hit: Hit


@dataclass(frozen=True)
class Worker:
    """A process of one of the steps. ``age`` is in seconds, ``updating`` those since a training went to its updates."""

    pid: int
    job: str | None
    script: str
    output: str
    age: float
    updating: float | None

    @property
    def words(self) -> str:
        """What it does, and where."""
        place = self.output.removeprefix("results/")
        return f"{self.script} {place}, process {self.pid}" + (f" of job {self.job}" if self.job else "")


class Scene:
    """The workflow that is hit.

    Args:
        folder: a copy of the project, in which it runs.
        arguments: for Snakemake.
        logs: folder for what Snakemake says.
        cluster: the SLURM cluster it runs on, None for processes on this machine.
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
        self.doomed: set[int] = set()  # processes that a fault will end, perhaps not at once
        self.corpus_faults = 0

    def start(self) -> None:
        """Start a controller."""
        self.controllers += 1
        command = [sys.executable, "-m", "snakemake", *self.arguments]
        with (self.logs / f"controller-{self.controllers}.log").open("w") as log:
            # a session of its own: a key pressed here is not for it
            self.controller = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.started = time.monotonic()

    def recover(self, how: str) -> None:
        """What ``make recover`` does after a controller was killed, all but the start of another.

        It refuses to go on beside short steps, so these are waited for.

        Raises:
            UserError: it fails.
        """
        command = [sys.executable, "workflow_scripts/recover.py", how, "--no-restart", "--", *self.arguments]
        place = {"cwd": self.folder, "env": self.environment, "capture_output": True, "text": True}
        end = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(command, **place, timeout=2 * PATIENCE)
            if "a second copy would not wait for it" not in done.stderr or time.monotonic() > end:
                break
            time.sleep(1)
        with (self.logs / "recover.log").open("a", encoding="utf-8") as log:
            log.write(f"$ recover.py {how}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            raise UserError(f"recover.py {how} failed: {(done.stderr or done.stdout).strip()}; see {self.logs}")

    def close(self) -> None:
        """Kill the controller and every process that works in the folder; jobs of a cluster end with the cluster."""
        if self.controller is not None:
            self.controller.kill()
            self.controller.wait()
        while left := processes(self.folder):
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.2)

    def slurm(self, *words: str) -> str:
        """Standard output of a command of SLURM's; raises RuntimeError."""
        return self.cluster.command(*words)

    def running(self) -> list[str]:
        """SLURM jobs that run, oldest first; none without a cluster."""
        if self.cluster is None:
            return []
        return sorted(self.slurm("squeue", "--noheader", "--states=RUNNING", "--format=%i").split(), key=int)

    def hasten(self) -> None:
        """Do what an administrator does after a fault of the node, or time.

        SLURM keeps a requeued job back for two minutes, lest a broken node eats the queue. If old steps of a job are
        still there when it is started again, SLURM drains the node and holds the job.
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
        """The steps that run, oldest first, but for those that a fault has hit already."""
        there = [process for process in processes(self.folder) if process.pid not in self.doomed]
        found = [worker for process in there if (worker := self._worker(process)) is not None]
        return sorted(found, key=lambda worker: (-worker.age, worker.pid))

    def _worker(self, process: Process) -> Worker | None:
        words = process.arguments
        if process.snakemake is not None or len(words) < 2 or not words[1].startswith("workflow_scripts/"):
            return None
        output = next((value for name, value in itertools.pairwise(words) if name == "--output"), "")
        age = max(0.0, time.time() - process.handle.create_time())
        return Worker(process.pid, process.job, Path(words[1]).name, output, age, self._updating(process.pid, output))

    def _updating(self, pid: int, output: str) -> float | None:
        for path in (self.folder / output).glob("progress/*/attempts.jsonl"):
            last = path.read_text(encoding="utf-8").splitlines()[-1:]
            with contextlib.suppress(ValueError):  # a kill has cut the line off
                if last and json.loads(last[0])["pid"] == pid:
                    return time.time() - json.loads(last[0])["time"]
        return None

    def trainings(self) -> list[Worker]:
        """Trainings that may be hit: those that have had :data:`GRACE` seconds for updates."""
        return [worker for worker in self.workers() if (worker.updating or 0) >= GRACE]

    def others(self, detail: float) -> list[Worker]:
        """Cachings and translations that are 1 to 8 seconds old, so that a hit finds them at any of their work."""
        return [worker for worker in self.workers() if worker.script in LONG[1:] and worker.age >= 1 + 7 * detail]

    def may_fall(self, detail: float) -> bool:
        """Whether the controller or the node may be hit: the controller is no longer at its start, and there is work.

        At first that is the making of the corpus, which is hit less often.
        """
        if self.controller is None or time.monotonic() - self.started < START * (1 + 2 * detail):
            return False
        workers = self.workers()
        if any(worker.script in LONG for worker in workers):
            return any((worker.updating or 0) >= GRACE for worker in workers) or detail < 0.3
        if not workers or self.corpus_faults >= CORPUS_FAULTS:
            return False
        self.corpus_faults += 1
        return True
