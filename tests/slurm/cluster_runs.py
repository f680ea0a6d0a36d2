"""Runs the real workflow, on a cluster or without, and compares results."""

import contextlib
import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keeper
from slurm_cluster import Cluster

KEEPER = (sys.executable, "-I", "-S", str(Path(keeper.__file__)))
TIMEOUT = 600  # seconds
# poll often: the jobs are short, and nobody else uses this cluster
SLURM = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1")
TIMES = {"train_seconds", "teacher_seconds", "tokens_per_second"}  # columns of the table that differ between runs


class Controller:
    """A Snakemake process that ends with the tests, together with its local child processes.

    Args:
        folder: the copy of the project to run in; the output goes to a file beside it.
        arguments: of Snakemake.
        cluster: where jobs are submitted; None runs them on this machine.
        recover: start it as ``make recover YES=1`` does.
    """

    def __init__(self, folder: Path, *arguments: str, cluster: Cluster | None = None, recover: bool = False) -> None:
        environment = cluster.environment if cluster else os.environ
        kept = {name: value for name, value in environment.items() if not name.startswith(("EKD_", "SNAKEMAKE_"))}
        number = len(list(folder.parent.glob(f"{folder.name}.*.log")))
        self.log = folder.parent / f"{folder.name}.{number}.log"
        program = ("workflow_scripts/recover.py", "--yes", "--") if recover else ("-m", "snakemake")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*KEEPER, sys.executable, *program, "--cores", "2", *(SLURM if cluster else ()), *arguments],
                cwd=folder,
                env=kept | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        """What it has printed so far, after one line of the keeper."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        return self.process.wait(TIMEOUT)

    def kill(self) -> None:
        """SIGKILL it and its local child processes, as a power cut does. SLURM jobs keep running."""
        with contextlib.suppress(ProcessLookupError, ValueError):
            if self.process.poll() is None:
                os.kill(int(self.output().partition("\n")[0]), signal.SIGKILL)
        self.process.terminate()
        self.process.wait()


def until(condition: Callable[[], object], what: str, controller: Controller, seconds: float = 240) -> None:
    """Wait for a condition while a controller runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert controller.process.poll() is None, f"ended before {what}:\n{controller.output()}"
        assert time.monotonic() < end, f"no {what}:\n{controller.output()}"
        time.sleep(0.1)


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    """Relative path → SHA-256 of the files below a folder."""
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a table, without columns of times."""
    with path.open(encoding="utf-8", newline="") as handle:
        return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(handle)]
