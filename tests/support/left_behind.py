"""What a killed controller leaves behind: steps that run, and folders of unfinished work."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ekd_nmt.common.files import write_json
from ekd_nmt.resume.work_folder import Job

RUN = "results/demo/student/seed1"
KEY = "0123456789abcdef"
# takes the place of a step: makes a file when it runs, and one on SIGTERM as if it saved, unless it is deaf
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


def lease(folder, age=0.0, **owner):
    """What a process leaves in a folder whose lease it holds; ``age`` is that of its heartbeat in seconds."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock").touch()
    os.utime(folder / "lock", (time.time() - age,) * 2)
    owner = {"pid": 7, "host": "elsewhere", "job": None, "since": time.time() - 99, "command": "train"} | owner
    (folder / "owner.json").write_text(json.dumps(owner))
    return folder


def unfinished(parent, command, options, inputs, revision=1, key=KEY):
    """A work folder with a job record, as a killed step leaves it."""
    folder = Path(parent, "progress", key)
    folder.mkdir(parents=True)
    job = Job.of(command, revision, options, map(Path, inputs))
    write_json(folder / "job.json", job.model_dump())
    return folder
