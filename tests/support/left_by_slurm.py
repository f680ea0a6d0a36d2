"""A folder with a workflow, and a SLURM of two shell scripts, for the tests of recover.py."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import recover
from left_behind import put_step

ROOT = Path(__file__).parents[2]
DOWN = "#!/bin/sh\necho slurm is down >&2; exit 1\n"
# the queue is a text file, a job a line
SQUEUE = '#!/bin/sh\necho "$@" > asked; cat queue\n'
SCANCEL = '#!/bin/sh\nfor job in "$@"; do echo "$job" >> cancelled; sed -i "/^$job|/d" queue; done\n'
SNAKEFILE = """
rule all:
    input: "results/done"

rule done:
    output: "results/done"
    shell: "touch runs_too; for i in $(seq 300); do test -e go && break; sleep 0.2; done; touch {output}"
"""


def put_workflow(folder, monkeypatch):
    """Make a folder with a workflow of one rule, a step that only waits, and a SLURM without jobs; work in it."""
    put_step(folder)
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "go").touch()
    (folder / "bin").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(recover, "STOP_SECONDS", 1.0)
    monkeypatch.setattr(recover, "SCANCEL_SECONDS", 2.0)
    with_slurm()
    return folder


def command(name, text):
    """Put a command on the PATH of the workflow's folder, which is the working folder."""
    path = Path("bin", name)
    path.write_text(text)
    path.chmod(0o755)


def with_slurm(*lines):
    """A SLURM with these jobs, as squeue lists them."""
    Path("queue").write_text("".join(f"{line}\n" for line in lines))
    command("squeue", SQUEUE)
    command("scancel", SCANCEL)


def call(*flags, stdin=subprocess.DEVNULL):
    """Call recover.py without a terminal."""
    words = [sys.executable, ROOT / "workflow_scripts/recover.py", *flags]
    return subprocess.run(words, stdin=stdin, capture_output=True, text=True, check=False, timeout=120)


def answering(text, *flags):
    """Call recover.py on a terminal, with this input."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, text.encode())
        return call(*flags, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
