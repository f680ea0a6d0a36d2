"""`make recover` after the kill of a controller gives all results; `make clean-stale` removes stale work."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import pytest
from workflow_runs import dry_run, snakemake

from configurations import experiment
from left_behind import unfinished, wait_for
from project_copy import ROOT

pytestmark = pytest.mark.dag

SLOW = """
import pathlib, time

import stand_in

REVISION = 1

if not pathlib.Path("go").exists():
    pathlib.Path("runs").touch()
    time.sleep(120)
stand_in.main()
"""
SYSTEM = "takd_student"


def make(folder, target, *words):
    """Call a target of the Makefile, without building an environment, in a folder."""
    for name in ("Makefile", ".venv"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    queue = folder / "slurm_of_the_test/squeue"  # without jobs; the machine's own may have no cluster to ask
    queue.parent.mkdir(exist_ok=True)
    queue.write_text("#!/bin/sh\n")
    queue.chmod(0o755)
    environment = os.environ | {"PATH": f"{queue.parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "--old-file=env", "--no-print-directory", target, *words]
    how = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": False, "timeout": 300}
    return subprocess.run(command, cwd=folder, env=environment, **how)


def progress(folder, system, *models, **changes):
    """Unfinished work of a training of the default configuration, some of its options changed."""
    inputs = [f"results/demo/{name}" for name in (*models, "data/bin/dict.de.txt")]
    options = experiment().options(system) | {"seed": 1} | changes
    with contextlib.chdir(folder):
        return folder / unfinished(f"results/demo/{system}/seed1", "train", options, inputs)


def test_recovery_after_the_kill_of_a_controller(project):
    folder = project.folder
    (folder / "workflow_scripts/train.py").write_text(SLOW)
    project.edit({f"systems.{SYSTEM}.lr": 1e-3})
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    controller = subprocess.Popen(command, cwd=folder, stdout=-3, stderr=-3, start_new_session=True)
    try:
        wait_for((folder / "runs").exists)
        assert f"Snakemake runs here, process {controller.pid}" in make(folder, "recover", "YES=1").stderr
        controller.kill()
        controller.wait()
        assert os.listdir(folder / ".snakemake/locks")
        assert "Directory cannot be locked" in snakemake(folder, "--cores", "2").output

        refused = make(folder, "recover", "CORES=2")
        assert refused.returncode == 2
        assert "error: there is no terminal to ask on" in refused.stderr
        assert "train.py --output results/demo/takd_student/seed1" in refused.stdout

        (folder / "go").touch()
        run = make(folder, "recover", "YES=1", "CORES=2", "ARGS=--scheduler greedy")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(controller.pid, signal.SIGKILL)  # its steps are in its group
    assert run.returncode == 0, run.stderr
    assert "snakemake --rerun-incomplete --cores 2 --scheduler greedy" in run.stdout
    assert (folder / f"results/demo/{SYSTEM}/seed1/model.pt").exists()
    assert dry_run(folder) == set()


def test_clean_stale_is_run_by_hand(project):
    folder = project.folder
    shutil.copy2(ROOT / "workflow_scripts/clean_stale.py", folder / "workflow_scripts")  # no stand-in
    assert dry_run(folder, "clean_stale") == {("clean_stale",)}
    stale = progress(folder, "student", init="junior_student")
    used = progress(folder, SYSTEM, "takd_assistant/seed1/model.pt", "takd_assistant/seed1/cache/top32/meta.json")

    done = make(folder, "clean-stale", "DRY=1")
    assert done.returncode == 0, done.stderr
    assert f"would remove {stale.relative_to(folder)} (1 kB): init was 'junior_student' and is None now" in done.stdout
    assert stale.exists()

    old = progress(folder, "junior_teacher")
    (old / "job.json").rename(old / "checkpoint_last.pt")
    done = make(folder, "clean-stale")
    assert f"kept {old.relative_to(folder)} (1 kB): holds work, but no valid job.json" in done.stdout
    assert f"removed {stale.relative_to(folder)}" in done.stdout
    assert not stale.parent.exists()
    assert used.exists()
    done = make(folder, "clean-stale", "ARGS=--config systems='{takd_student: {lr: 0.5}}'")
    assert f"removed {used.relative_to(folder)}" in done.stdout
    assert "training.lr was 0.005 and is 0.5 now" in done.stdout

    refused = make(folder, "clean-stale", "ARGS=--config seeds=0")
    assert refused.returncode == 2
    assert "seeds" in refused.stderr
    assert dry_run(folder) == set(), "it is no part of the table"
