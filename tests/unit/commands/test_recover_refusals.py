"""recover.py does nothing where it cannot see what runs, nor beside steps for which a second copy would not wait."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import recover
from ekd_nmt.cluster.orphans import find_orphans, refuse_second_copies
from ekd_nmt.cluster.rule_table import LEASED
from ekd_nmt.common.errors import UserError
from left_behind import RUN, running, step, wait_for
from left_by_slurm import DOWN, answering, call, command, put_workflow, with_slurm

TEMPORARY = Path("results/.x.tmp")
# a leader and its rank: a byte on the rank's standard input stops it; a signal makes a file
LED = """
import pathlib, signal, subprocess, sys

rank = "--outcomes" in sys.argv
signal.signal(signal.SIGTERM, (lambda *_: pathlib.Path("signalled").touch()) if rank else signal.default_int_handler)
if rank:
    pathlib.Path("runs").touch()
    if "--deaf" not in sys.argv:
        sys.stdin.buffer.read(1)
        pathlib.Path("saved").touch()
    signal.pause() if "--deaf" in sys.argv else sys.exit(75)
child = subprocess.Popen([sys.executable, *sys.argv, "--outcomes", "x"], stdin=subprocess.PIPE)
try:
    child.wait()
except KeyboardInterrupt:
    child.stdin.write(b"x")
    child.stdin.close()
    sys.exit(child.wait())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a workflow of one rule and a step that only waits; a SLURM without jobs."""
    return put_workflow(tmp_path, monkeypatch)


def locked():
    """A lock of Snakemake's, as a killed controller leaves it, and a file that it left half-written."""
    for path in (Path(".snakemake/locks/0.output.lock"), TEMPORARY):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def other_step(name="binarize.py", **how):
    """A step of another name than train.py."""
    Path("workflow_scripts", name).write_text(Path("workflow_scripts/train.py").read_text())
    return running(f"workflow_scripts/{name}", "--output", RUN, **how)


@pytest.mark.parametrize("ask", [call, lambda: answering("y\n")])
def test_without_an_answer_of_slurm_nothing_is_done(folder, ask):
    locked()
    command("squeue", DOWN)
    run = ask()
    assert run.returncode == 2
    assert run.stderr.startswith("error: squeue failed: slurm is down: jobs may still run")
    assert len(run.stderr.splitlines()) == 1
    assert "make recover YES=1" in run.stderr
    assert "jobs of SLURM cannot be seen: squeue failed: slurm is down" in run.stdout
    assert TEMPORARY.exists()
    assert any(Path(".snakemake/locks").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--yes", "--keep"])
def test_without_an_answer_of_slurm_half_written_files_stay(folder, flag):
    TEMPORARY.parent.mkdir()
    TEMPORARY.touch()
    command("squeue", DOWN)
    run = call(flag, "--no-restart")
    assert run.returncode == 0, run.stderr
    assert "half-written files stay" in run.stdout
    assert TEMPORARY.exists()
    assert "lock is removed" in run.stdout


def test_a_lock_alone_is_asked_about(folder):
    locked()
    run = call()
    assert run.returncode == 2
    assert run.stderr.startswith("error: Snakemake's lock is here, and there is no terminal to ask on: make sure")
    run = answering("n\n")
    assert run.returncode == 1
    assert "Is it certain that no Snakemake works in this folder on another machine?" in run.stdout
    assert TEMPORARY.exists()
    assert any(Path(".snakemake/locks").iterdir())


@pytest.mark.slow
def test_a_lock_alone_is_removed_when_the_user_agrees(folder):
    for kept, call_recover in (
        (False, lambda: answering("y\n", "--no-restart")),
        (False, lambda: call("--yes", "--no-restart")),
        (True, lambda: call("--keep", "--no-restart")),
    ):
        locked()
        run = call_recover()
        assert run.returncode == 0, run.stderr
        assert not list(Path(".snakemake").glob("locks/*"))
        assert TEMPORARY.exists() is kept
    TEMPORARY.touch()
    assert call("--no-restart").returncode == 0, "without a lock there is nothing to ask"
    assert not TEMPORARY.exists()


@pytest.mark.parametrize("name", sorted(LEASED))
def test_beside_steps_and_jobs_that_hold_leases(folder, name):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_{name}_wildcards_student_1", f"12|RUNNING|1|mine|{folder}|")
    with other_step(f"{name}.py"):
        refuse_second_copies(find_orphans(folder), folder)


@pytest.mark.parametrize(
    "comment", ["rule_corpus_apply_bpe_binarize_...", "rule_score_wildcards_student_1", "rule_train_score"]
)
def test_not_beside_a_job_without_a_lease(folder, comment):
    with_slurm(f"11|PENDING|0:00|ekd_ab|{folder}|{comment}", f"12|RUNNING|1|ekd_ab|{folder}|rule_train_wildcards_a_1")
    locked()
    run = call("--keep", "--no-restart")
    assert run.returncode == 2
    assert run.stderr.startswith(f"error: SLURM job 11, pending, 0:00, {comment}: a second copy would not wait for it")
    assert "wait for its end and run again, or stop all of the above (make recover YES=1)" in run.stderr
    assert TEMPORARY.exists()
    assert any(Path(".snakemake/locks").iterdir())


def test_not_beside_a_step_without_a_lease(folder):
    with (
        other_step() as process,
        step(),
        pytest.raises(UserError, match=rf"process {process.pid}, binarize.py --output .*: a second .*YES=1"),
    ):
        refuse_second_copies(find_orphans(folder), folder)
    with_slurm(f"14|RUNNING|9|nightly|{folder}|")
    with other_step(job="14") as process:
        left = find_orphans(folder)
        assert not left.processes, "it is left alone with its job"
        with pytest.raises(UserError, match=rf"process {process.pid}, binarize.py .* or stop it$"):
            refuse_second_copies(left, folder)


def test_ranks_are_stopped_by_their_leader_alone(folder, monkeypatch):
    Path("workflow_scripts/train.py").write_text(LED)
    with step() as process:
        left = find_orphans(folder)
        assert len(left.processes) == 2
        monkeypatch.setattr(recover, "STOP_SECONDS", 20.0)
        recover.stop(left, folder)
        assert process.wait(1) == 75
    assert Path("saved").exists()
    assert not Path("signalled").exists()


def test_ranks_that_do_not_end_are_killed(folder):
    Path("workflow_scripts/train.py").write_text(LED)
    words = [sys.executable, "workflow_scripts/train.py", "--outcomes", "x", "--deaf"]
    with subprocess.Popen(words) as rank:
        wait_for(Path("runs").exists)
        began = time.monotonic()
        recover.stop(find_orphans(folder), folder)
        assert rank.wait(1) == -9
        assert time.monotonic() - began >= 1
    assert not Path("signalled").exists()
