"""What a controller may leave behind: steps that run, and folders of unfinished work that are claimed."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

RUN = "results/demo/student/seed1"
KEY = "0123456789abcdef"
# takes the place of a step: tells that it runs, and on SIGTERM that it has saved, unless it is deaf
STEP = """
import pathlib, signal, sys, time

def save(*_):
    pathlib.Path("saved").touch()
    sys.exit(75)

signal.signal(signal.SIGTERM, signal.SIG_IGN if "--deaf" in sys.argv else save)
pathlib.Path("runs_deaf" if "--deaf" in sys.argv else "runs").touch()
time.sleep(120)
"""


def put_step(folder: Path) -> None:
    """Write the script that :func:`step` runs."""
    (folder / "workflow_scripts").mkdir()
    (folder / "workflow_scripts/train.py").write_text(STEP)


@contextlib.contextmanager
def running(*words, job=None, until="runs", folder="."):
    """A process of a test's own, once it has come so far as to make a file."""
    Path(folder, until).unlink(missing_ok=True)
    environment = os.environ | ({} if job is None else {"SLURM_JOB_ID": job})
    process = subprocess.Popen([sys.executable, *words], cwd=folder, env=environment, stdout=-3, stderr=-3)
    try:
        wait_for(Path(folder, until).exists)
        yield process
    finally:
        process.kill()
        process.wait()


def step(*flags, **how):
    return running("workflow_scripts/train.py", "--output", RUN, *flags, **how)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def claim(progress, silent=0.0, **owner):
    """What a process leaves in a folder that it has claimed."""
    progress = Path(progress)
    progress.mkdir(parents=True)
    (progress / "lock").touch()
    os.utime(progress / "lock", (time.time() - silent,) * 2)
    owner = {"pid": 7, "host": "elsewhere", "job": None, "since": time.time() - 99, "work": "training"} | owner
    (progress / "owner.json").write_text(json.dumps(owner))
    return progress
