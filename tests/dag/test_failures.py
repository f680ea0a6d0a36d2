"""A failed step: its error ends the output of the run, its incomplete outputs are deleted, and a rerun repeats it."""

import os
import time

import pytest
from expected_jobs import NOTHING, cached, trained
from workflow_runs import dry_run, snakemake

from project_copy import copy_project

pytestmark = pytest.mark.dag

# writes incomplete outputs, then fails with an error that the user can fix
FAILING = """
import sys
from pathlib import Path

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError

REVISION = 1


def main():
    folder = Path(sys.argv[sys.argv.index("--output") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.pt", "train.json", "config.json"):
        (folder / name).write_text("incomplete")
    raise UserError(f"{folder.parent.name}: the teacher has\\nanother dictionary; train it again")


run(main)
"""
OUTPUTS = ("model.pt", "train.json", "config.json", "training.jsonl")


def errors(run):
    return [line for line in run.stderr.splitlines() if line.startswith("error: ")]


def run_failing(project, command, changes):
    """Edit the configuration and run with a command that fails."""
    script = project.folder / f"workflow_scripts/{command}.py"
    working = script.read_text()
    script.write_text(FAILING)
    project.edit(changes)
    failed = snakemake(project.folder, "--cores", "2", "--keep-going")
    assert failed.returncode == 1
    script.write_text(working)
    return failed


def assert_repaired(project, expected):
    """What failed runs again, and all that follows."""
    run = snakemake(project.folder, "--cores", "2")
    assert run.returncode == 0, run.stderr
    assert not errors(run)
    assert run.jobs == expected
    assert dry_run(project.folder) == NOTHING


def test_failed_trainings(project):
    runs = project.folder / "results/demo"
    old_log = runs / "student/seed1/logs/train.log"
    old_log.write_text("error: from yesterday\n")
    os.utime(old_log, (time.time() - 86400, time.time() - 86400))
    failed = ("takd_student", "senior_student")
    others = {path: path.read_bytes() for path in runs.glob("*/seed1/*.*") if path.parts[-3] not in failed}

    run = run_failing(project, "train", {f"systems.{system}.lr": 1e-3 for system in failed})
    assert run.jobs == {("train", system, "1") for system in failed}
    assert sorted(errors(run)) == sorted(
        f"error: {system}: the teacher has another dictionary; train it again  "
        f"[results/demo/{system}/seed1/logs/train.log]"
        for system in failed
    )
    assert run.stderr.rindex("\nerror: ") > run.stderr.rindex("Error in rule train"), "the errors come last"
    assert not any((runs / system / "seed1" / name).exists() for system in failed for name in OUTPUTS)
    assert {path: path.read_bytes() for path in others} == others

    # the old scores are still there, and must not count as those of the new models
    assert_repaired(project, trained(*failed))


def test_failed_cache(project):
    caches = project.folder / "results/demo/takd_assistant/seed1/cache"
    model = project.folder / "results/demo/takd_student/seed1/model.pt"
    old_model = model.read_bytes()

    run = run_failing(project, "cache_teacher", {"systems.takd_assistant.lr": 1e-3})
    assert cached("takd_assistant") < run.jobs
    assert ("train", "takd_student", "1") not in run.jobs
    assert errors(run) == [
        "error: cache: the teacher has another dictionary; train it again  "
        "[results/demo/takd_assistant/seed1/logs/cache_top32.log]"
    ]
    assert not list(caches.glob("*"))
    assert model.read_bytes() == old_model
    assert_repaired(project, cached("takd_assistant") | trained("takd_student"))


def test_wrong_file_in_the_mirror_folder(tmp_path):
    """With the real command, which ``data.mirror`` reaches."""
    clone = copy_project(tmp_path / "clone")
    mirrored = tmp_path / "mirror/multi30k/train.de.gz"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(b"cut off")
    target = "resources/multi30k/train.de.gz"
    settings = "--configfile", "config/multi30k.yaml", "--config", f"data={{mirror: {tmp_path / 'mirror'}}}"
    run = snakemake(clone, "--cores", "1", target, *settings)
    assert run.returncode == 1
    assert len(errors(run)) == 1
    assert str(mirrored) in errors(run)[0]
    assert errors(run)[0].endswith("  [resources/multi30k/logs/train.de.gz.log]")
    assert "Traceback" not in run.stderr
    assert [path.name for path in (clone / "resources").rglob("*.*") if path.is_file()] == ["train.de.gz.log"]
