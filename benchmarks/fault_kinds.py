"""The kinds of fault that benchmarks/faults.py injects into a running workflow, and the injector.

A kind is a function that finds a target, hits it and returns a description; None means that there is no target now.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from fault_target import PATIENCE, Fault, Hit, Planned, Target, Worker, processes

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.logs import say

TICK = 0.3  # seconds between two searches for a target
RELEASE = 5.0  # seconds between two searches for held jobs
RESTARTS = 5  # of a controller that exits by itself, between two faults


def _choose(candidates: list[Any], rank: float) -> Any:
    return candidates[int(rank * len(candidates))] if candidates else None


def _signal_worker(worker: Worker | None, number: signal.Signals) -> Hit | None:
    if worker is None:
        return None
    try:
        os.kill(worker.pid, number)
    except ProcessLookupError:
        return None
    return Hit(worker.description, [worker.pid])


def kill_training(target: Target, planned: Planned) -> Hit | None:
    """SIGKILL of a training."""
    return _signal_worker(_choose(target.trainings(), planned.rank), signal.SIGKILL)


def terminate_training(target: Target, planned: Planned) -> Hit | None:
    """SIGTERM of a training."""
    return _signal_worker(_choose(target.trainings(), planned.rank), signal.SIGTERM)


def kill_other(target: Target, planned: Planned) -> Hit | None:
    """SIGKILL of a teacher caching or a translation."""
    return _signal_worker(_choose(target.others(planned.detail), planned.rank), signal.SIGKILL)


def _hit_job(target: Target, planned: Planned, *command: str) -> Hit | None:
    """Call a SLURM command on the job of a training; ``{job}`` is its id."""
    jobs = {worker.job: worker for worker in target.trainings() if worker.job is not None}
    job = _choose(sorted(jobs, key=int), planned.rank)
    if job is None:
        return None
    try:
        target.slurm(*(word.format(job=job) for word in command))
    except RuntimeError:  # it has just ended
        return None
    return Hit(jobs[job].description, [jobs[job].pid], [job])


def cancel(target: Target, planned: Planned) -> Hit | None:
    """scancel of a training's job."""
    return _hit_job(target, planned, "scancel", "{job}")


def limit_time(target: Target, planned: Planned) -> Hit | None:
    """Time limit of a training's job lowered to 1 minute."""
    return _hit_job(target, planned, "scontrol", "update", "jobid={job}", "TimeLimit=1")


def requeue(target: Target, planned: Planned) -> Hit | None:
    """scontrol requeue of a training's job."""
    return _hit_job(target, planned, "scontrol", "requeue", "{job}")


def restart_slurmd(target: Target, planned: Planned) -> Hit | None:
    """SIGKILL of slurmd, back after 2 to 10 seconds."""
    if not target.may_fall(planned.detail) or not target.running_jobs():
        return None
    seconds = 2 + 8 * planned.rank
    target.cluster.kill_slurmd()
    time.sleep(seconds)
    target.cluster.start_slurmd()
    return Hit(f"away for {seconds:.1f} s")


def lose_node(target: Target, planned: Planned) -> Hit | None:
    """Node declared lost: jobs are requeued while the old processes keep running."""
    if not target.may_fall(planned.detail) or not (jobs := target.running_jobs()):
        return None
    hit = Hit(f"{len(jobs)} jobs, for {5 + 15 * planned.rank:.1f} s", [w.pid for w in target.workers() if w.job], jobs)
    node = target.slurm("sinfo", "--noheader", "--Node", "--format=%N").split()[0]
    target.cluster.kill_slurmd()
    target.slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=fault")
    time.sleep(5 + 15 * planned.rank)
    target.cluster.start_slurmd()
    return hit


def _kill_controller(target: Target, planned: Planned, how: str) -> Hit | None:
    if not target.may_fall(planned.detail):
        return None
    workers, jobs = target.workers(), target.running_jobs()
    target.controller.kill()
    target.controller.wait()
    what = f"process {target.controller.pid}, {len(workers)} steps left running"
    hit = Hit(what) if how == "--keep" else Hit(what, [worker.pid for worker in workers], jobs)
    target.recover(how)
    target.start()
    return hit


def kill_controller(target: Target, planned: Planned) -> Hit | None:
    """SIGKILL of Snakemake, then make recover YES=1."""
    return _kill_controller(target, planned, "--yes")


def abandon_jobs(target: Target, planned: Planned) -> Hit | None:
    """SIGKILL of Snakemake, then make recover KEEP=1: second copies of running jobs."""
    return _kill_controller(target, planned, "--keep")


def interrupt_controller(target: Target, planned: Planned) -> Hit | None:
    """SIGINT of Snakemake, then a restart."""
    if not target.may_fall(planned.detail):
        return None
    workers, jobs, controller = target.workers(), target.running_jobs(), target.controller.pid
    target.controller.send_signal(signal.SIGINT)
    try:
        target.controller.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise UserError(f"the controller did not end {PATIENCE} s after SIGINT; see {target.logs}") from None
    target.start()
    return Hit(f"process {controller}, {len(workers)} steps running", [w.pid for w in workers], jobs)


Kind = Callable[[Target, Planned], Hit | None]
LOCAL: dict[str, Kind] = {
    "kill": kill_training,
    "term": terminate_training,
    "kill-other": kill_other,
    "controller-kill": kill_controller,
    "controller-abandon": abandon_jobs,
    "controller-int": interrupt_controller,
}
KINDS: dict[str, Kind] = LOCAL | {
    "scancel": cancel,
    "time-limit": limit_time,
    "requeue": requeue,
    "slurmd": restart_slurmd,
    "node-lost": lose_node,
}


def title(kind: str) -> str:
    """Description of a kind."""
    return (KINDS[kind].__doc__ or kind).strip().rstrip(".")


def draw(seed: int, count: int, kinds: list[str], mean: float) -> list[Planned]:
    """The plan of a seed: ``count`` faults, the kinds in equal shares, ``mean`` seconds apart on average."""
    generator = random.Random(seed)
    order = [kinds[number % len(kinds)] for number in range(count)]
    generator.shuffle(order)
    return [
        Planned(number, kind, generator.expovariate(1 / mean), generator.random(), generator.random())
        for number, kind in enumerate(order, 1)
    ]


class Injector:
    """Carries out a plan of faults in one or more runs of the workflow.

    Attributes:
        done: the faults so far.
        unplanned_exits: descriptions of controller exits that no fault had caused.
    """

    def __init__(self, plan: list[Planned], deadline: float) -> None:
        self.remaining, self.deadline = list(plan), deadline
        self.done: list[Fault] = []
        self.unplanned_exits: list[str] = []
        self.started = time.time()

    def run(self, target: Target) -> None:
        """Inject faults into one run of the workflow until it ends and none of its processes is running.

        Raises:
            UserError: it does not end, or a controller fails repeatedly.
        """
        next_fault = next_release = time.monotonic()
        restarts = 0
        target.start()
        while (status := target.controller.poll()) != 0:
            now = time.monotonic()
            if now > self.deadline:
                raise UserError(f"out of time with {len(self.remaining)} faults to come; see {target.logs}")
            if status is not None:
                restarts += 1
                self._restart(target, status, restarts)
                continue
            if now >= next_release:
                target.release_held_jobs()
                next_release = now + RELEASE
            wait = self.remaining[0].wait if self.remaining else 0
            if self.remaining and now >= next_fault + wait and self._inject(target):
                next_fault, restarts = time.monotonic(), 0
            time.sleep(TICK)
        say(f"the workflow has ended after {len(self.done)} faults")
        end = time.monotonic() + PATIENCE
        while (running := processes(target.folder)) and time.monotonic() < end:
            time.sleep(TICK)  # orphaned copies may still write
        if running:
            raise UserError(f"process {running[0].pid} still runs {PATIENCE} s after the end of the workflow")

    def _inject(self, target: Target) -> bool:
        """Inject the first fault of the plan that finds a target."""
        for planned in self.remaining:
            began = time.time()
            hit = KINDS[planned.kind](target, planned)
            if hit is not None:
                self.remaining.remove(planned)
                target.hit.update(hit.pids)
                self.done.append(Fault(planned, began, time.time(), hit))
                say(f"fault {len(self.done)}: {planned.kind}: {hit.what}")
                return True
        return False

    def _restart(self, target: Target, status: int, restarts: int) -> None:
        """Restart a controller that exited by itself."""
        log = target.logs / f"controller-{target.controllers}.log"
        last = " ".join(log.read_text(encoding="utf-8", errors="replace").split())[-300:]
        self.unplanned_exits.append(f"after fault {len(self.done)}, exit status {status}: {last}")
        say(f"the controller has exited by itself: {self.unplanned_exits[-1]}")
        if restarts > RESTARTS:
            raise UserError(f"the controller has failed {restarts} times in a row; see {log}")
        target.recover("--keep")
        target.start()
