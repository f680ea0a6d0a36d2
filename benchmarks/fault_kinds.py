"""The kinds of fault that benchmarks/faults.py brings on a running workflow, and how it carries out a plan of them.

A kind is a function that looks for something to hit, hits it, and tells what that was; None means that there is nothing
to hit at the moment.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from fault_scene import PATIENCE, Fault, Hit, Planned, Scene, Worker

from ekd_nmt.cluster.processes import processes
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.logs import say

TICK = 0.3  # seconds between two looks for something to hit
HASTE = 5.0  # seconds between two looks for jobs that SLURM keeps back
RESTARTS = 5  # of a controller that ended by itself, between two faults


def _choose(candidates: list[Any], rank: float) -> Any:
    return candidates[int(rank * len(candidates))] if candidates else None


def _signal_worker(worker: Worker | None, number: signal.Signals) -> Hit | None:
    if worker is None:
        return None
    try:
        os.kill(worker.pid, number)
    except ProcessLookupError:
        return None
    return Hit(worker.words, [worker.pid])


def kill_training(scene: Scene, planned: Planned) -> Hit | None:
    """SIGKILL of a training."""
    return _signal_worker(_choose(scene.trainings(), planned.rank), signal.SIGKILL)


def terminate_training(scene: Scene, planned: Planned) -> Hit | None:
    """SIGTERM of a training."""
    return _signal_worker(_choose(scene.trainings(), planned.rank), signal.SIGTERM)


def kill_other(scene: Scene, planned: Planned) -> Hit | None:
    """SIGKILL of a caching or a translation."""
    return _signal_worker(_choose(scene.others(planned.detail), planned.rank), signal.SIGKILL)


def _hit_job(scene: Scene, planned: Planned, *command: str) -> Hit | None:
    """Call a command of SLURM's on the job of a training, whose number it gets for ``{job}``."""
    jobs = {worker.job: worker for worker in scene.trainings() if worker.job is not None}
    job = _choose(sorted(jobs, key=int), planned.rank)
    if job is None:
        return None
    try:
        scene.slurm(*(word.format(job=job) for word in command))
    except RuntimeError:  # it has just ended
        return None
    return Hit(jobs[job].words, [jobs[job].pid], [job])


def cancel(scene: Scene, planned: Planned) -> Hit | None:
    """scancel of a training's job."""
    return _hit_job(scene, planned, "scancel", "{job}")


def limit_time(scene: Scene, planned: Planned) -> Hit | None:
    """Time limit of a training's job lowered to 1 minute."""
    return _hit_job(scene, planned, "scontrol", "update", "jobid={job}", "TimeLimit=1")


def requeue(scene: Scene, planned: Planned) -> Hit | None:
    """scontrol requeue of a training's job."""
    return _hit_job(scene, planned, "scontrol", "requeue", "{job}")


def restart_slurmd(scene: Scene, planned: Planned) -> Hit | None:
    """SIGKILL of slurmd, back after 2 to 10 seconds."""
    if not scene.may_fall(planned.detail) or not scene.running():
        return None
    seconds = 2 + 8 * planned.rank
    scene.cluster.kill_slurmd()
    time.sleep(seconds)
    scene.cluster.start_slurmd()
    return Hit(f"away for {seconds:.1f} s")


def lose_node(scene: Scene, planned: Planned) -> Hit | None:
    """slurmd killed and its node declared down: jobs are requeued while the old processes run on."""
    if not scene.may_fall(planned.detail) or not (jobs := scene.running()):
        return None
    hit = Hit(f"{len(jobs)} jobs, for {5 + 15 * planned.rank:.1f} s", [w.pid for w in scene.workers() if w.job], jobs)
    node = scene.slurm("sinfo", "--noheader", "--Node", "--format=%N").split()[0]
    scene.cluster.kill_slurmd()
    scene.slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=fault")
    time.sleep(5 + 15 * planned.rank)
    scene.cluster.start_slurmd()
    return hit


def _kill_controller(scene: Scene, planned: Planned, how: str) -> Hit | None:
    if not scene.may_fall(planned.detail):
        return None
    workers, jobs = scene.workers(), scene.running()
    scene.controller.kill()
    scene.controller.wait()
    what = f"process {scene.controller.pid}, {len(workers)} steps left running"
    hit = Hit(what) if how == "--keep" else Hit(what, [worker.pid for worker in workers], jobs)
    scene.recover(how)
    scene.start()
    return hit


def kill_controller(scene: Scene, planned: Planned) -> Hit | None:
    """SIGKILL of the controller; its jobs stopped (make recover), then started again."""
    return _kill_controller(scene, planned, "--yes")


def abandon_jobs(scene: Scene, planned: Planned) -> Hit | None:
    """SIGKILL of the controller, started again beside its jobs (make recover KEEP=1): second copies meet the first."""
    return _kill_controller(scene, planned, "--keep")


def interrupt_controller(scene: Scene, planned: Planned) -> Hit | None:
    """SIGINT of the controller, started again."""
    if not scene.may_fall(planned.detail):
        return None
    workers, jobs, controller = scene.workers(), scene.running(), scene.controller.pid
    scene.controller.send_signal(signal.SIGINT)
    try:
        scene.controller.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise UserError(f"the controller did not end {PATIENCE} s after SIGINT; see {scene.logs}") from None
    scene.start()
    return Hit(f"process {controller}, {len(workers)} steps running", [w.pid for w in workers], jobs)


Kind = Callable[[Scene, Planned], Hit | None]
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
    """A kind in words."""
    return (KINDS[kind].__doc__ or kind).strip().rstrip(".")


def draw(seed: int, count: int, kinds: list[str], mean: float) -> list[Planned]:
    """The plan of a seed: ``count`` faults in equal shares of the kinds, ``mean`` seconds apart on average."""
    generator = random.Random(seed)
    order = [kinds[number % len(kinds)] for number in range(count)]
    generator.shuffle(order)
    return [
        Planned(number, kind, generator.expovariate(1 / mean), generator.random(), generator.random())
        for number, kind in enumerate(order, 1)
    ]


class Disturbance:
    """Runs of the workflow under faults, until a plan is carried out.

    Attributes:
        done: the faults so far.
        unplanned: how controllers ended that no fault had ended, in words.
    """

    def __init__(self, plan: list[Planned], deadline: float) -> None:
        self.left, self.deadline = list(plan), deadline
        self.done: list[Fault] = []
        self.unplanned: list[str] = []
        self.started = time.time()

    def disturb(self, scene: Scene) -> None:
        """Bring faults on one run of the workflow until it ends, and until nothing of it is left running.

        Raises:
            UserError: it does not end, or a controller fails again and again.
        """
        next_fault = next_look = time.monotonic()
        restarts = 0
        scene.start()
        while (status := scene.controller.poll()) != 0:
            now = time.monotonic()
            if now > self.deadline:
                raise UserError(f"no end in sight with {len(self.left)} faults to come; see {scene.logs}")
            if status is not None:
                restarts += 1
                self._revive(scene, status, restarts)
                continue
            if now >= next_look:
                scene.hasten()
                next_look = now + HASTE
            wait = self.left[0].wait if self.left else 0
            if self.left and now >= next_fault + wait and self._strike(scene):
                next_fault, restarts = time.monotonic(), 0
            time.sleep(TICK)
        say(f"the workflow has ended after {len(self.done)} faults")
        end = time.monotonic() + PATIENCE
        while (left := processes(scene.folder)) and time.monotonic() < end:
            time.sleep(TICK)  # copies that a killed controller has left may still write
        if left:
            raise UserError(
                f"process {left[0].pid} still runs {PATIENCE} s after the end: {' '.join(left[0].arguments)}"
            )

    def _strike(self, scene: Scene) -> bool:
        """Carry out the first fault of the plan that finds something to hit."""
        for planned in self.left:
            began = time.time()
            hit = KINDS[planned.kind](scene, planned)
            if hit is not None:
                self.left.remove(planned)
                scene.doomed.update(hit.pids)
                self.done.append(Fault(planned, began, time.time(), hit))
                say(f"fault {len(self.done)}: {planned.kind}: {hit.what}")
                return True
        return False

    def _revive(self, scene: Scene, status: int, restarts: int) -> None:
        """Start a controller again that ended by itself."""
        log = scene.logs / f"controller-{scene.controllers}.log"
        last = " ".join(log.read_text(encoding="utf-8", errors="replace").split())[-300:]
        self.unplanned.append(f"after fault {len(self.done)}, exit status {status}: {last}")
        say(f"the controller has ended by itself: {self.unplanned[-1]}")
        if restarts > RESTARTS:
            raise UserError(f"the controller has failed {restarts} times in a row; see {log}")
        scene.recover("--keep")
        scene.start()
