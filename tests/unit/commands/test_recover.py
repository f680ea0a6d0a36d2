"""recover.py: what a killed controller left running is stopped when the user agrees, and nothing else is touched."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import recover
from ekd_nmt.cluster import orphans
from ekd_nmt.cluster.orphans import find_orphans, refuse_second_copies
from ekd_nmt.cluster.processes import LEASED
from ekd_nmt.common.errors import UserError
from left_behind import RUN, put_step, running, step

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
LOCK = Path(".snakemake/locks/0.output.lock")
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


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a workflow of one rule and a step that only waits; a SLURM without jobs."""
    put_step(tmp_path)
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "go").touch()
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(recover, "STOP_SECONDS", 1.0)
    monkeypatch.setattr(recover, "SCANCEL_SECONDS", 2.0)
    with_slurm()
    return tmp_path


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
    words = [sys.executable, recover.__file__, *flags]
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


def locked():
    """A lock of Snakemake's, as a killed controller leaves it."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    LOCK.touch()


def other_step(name="binarize.py", **how):
    """A step of another name than train.py."""
    Path("workflow_scripts", name).write_text(Path("workflow_scripts/train.py").read_text())
    return running(f"workflow_scripts/{name}", "--output", RUN, **how)


# What is found


def test_jobs_of_slurm_are_those_of_this_folder_with_a_comment_of_snakemake(folder):
    with_slurm(
        f"11|RUNNING|1:02|ekd_ab-cd|{folder}|rule_train_wildcards_student_1",
        f"13|RUNNING|5|ekd_ab-cd|{folder}/other|rule_train",
        f"15|PENDING|0:00|nmt_ab-cd|{folder}|rule_score_wildcards_student_1",
        f"14|RUNNING|9|nightly|{folder}|(null)",
    )
    found = find_orphans(folder)
    assert list(map(str, found.jobs)) == [
        "SLURM job 11, running, 1:02, rule_train_wildcards_student_1",
        "SLURM job 15, pending, 0:00, rule_score_wildcards_student_1",
    ]
    assert [job.id for job in found.others] == ["14"]
    assert found.problem is None
    assert "--me" in Path("asked").read_text()
    with step() as process, step(job="11"), step(job="14"):
        assert [each.pid for each in find_orphans(folder).processes] == [process.pid], "jobs are listed already"


def test_without_an_answer_of_slurm_the_reason_is_known(folder, monkeypatch):
    command("squeue", DOWN)
    assert find_orphans(folder).problem == "squeue failed: slurm is down"
    command("squeue", "#!/bin/sh\nsleep 60\n")
    monkeypatch.setattr(orphans, "QUERY_SECONDS", 0.2)
    assert "timed out after 0.2 seconds" in find_orphans(folder).problem
    monkeypatch.setenv("PATH", f"{folder}/bin")
    Path("bin/squeue").chmod(0o644)
    found = find_orphans(folder)
    assert (found.problem, found.may_miss_jobs) == ("squeue failed: Permission denied", True)
    Path("bin/squeue").unlink()
    found = find_orphans(folder)
    assert (found.problem, found.may_miss_jobs) == ("there is no squeue on this machine", False)


# Stopping


def test_stop_lets_steps_save_and_kills_those_that_do_not_end(folder):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_train", f"12|RUNNING|1|other|{folder}|")
    with step() as process, step("--deaf", until="runs_deaf") as deaf, step(job="11") as of_the_job:
        found = find_orphans(folder)
        assert len(found.processes) == 2
        recover.stop(found, folder)
        assert [each.wait(1) for each in (process, deaf, of_the_job)] == [75, -signal.SIGKILL, 75]
    assert Path("saved").exists()
    assert Path("cancelled").read_text().split() == ["11"]


def test_ranks_are_stopped_by_their_leader_alone_unless_they_do_not_end(folder, monkeypatch):
    Path("workflow_scripts/train.py").write_text(LED)
    with running("workflow_scripts/train.py", "--outcomes", "x", "--deaf") as rank:
        recover.stop(find_orphans(folder), folder)
        assert rank.wait(1) == -signal.SIGKILL
    monkeypatch.setattr(recover, "STOP_SECONDS", 20.0)
    with step() as process:
        found = find_orphans(folder)
        assert len(found.processes) == 2
        recover.stop(found, folder)
        assert process.wait(1) == 75
    assert Path("saved").exists()
    assert not Path("signalled").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scancel", "echo Access denied >&2; exit 1", r"SLURM has not ended 11 .*Access denied.*scontrol show job 11"),
        ("squeue", "exit 1", r"SLURM has not ended 11 .*squeue failed"),  # not taken for an empty queue
        ("scancel", "echo '99|PENDING|0|ekd_cd|FOLDER|rule_score' > queue", r"SLURM job 99, .*stop its controller"),
    ],
    ids=["jobs that do not end", "no answer", "other work has started meanwhile"],
)
def test_stop_reports_what_it_cannot_stop(folder, name, text, message):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_train")
    found = find_orphans(folder)
    command(name, f"#!/bin/sh\n{text.replace('FOLDER', str(folder))}\n")
    with pytest.raises(UserError, match=message):
        recover.stop(found, folder)


# The command


@pytest.mark.slow
def test_no_keep_and_yes():
    with step() as process:
        run = answering("n\n")
        assert run.returncode == 1
        assert "nothing was stopped" in run.stdout
        assert "--keep" in run.stdout
        assert not Path("saved").exists()

        run = call("--keep", "--", "--cores", "1", "--quiet", "all")
        assert run.returncode == 0, run.stderr
        assert process.poll() is None
        assert Path("results/done").exists()
        Path("results/done").unlink()

        run = answering("y\n", "--", "--quiet", "all")
        assert run.returncode == 0, run.stderr
        assert process.wait(1) == 75
    assert "snakemake --rerun-incomplete --cores all --quiet all" in run.stdout
    assert Path("results/done").exists()


@pytest.mark.parametrize(
    ("jobs", "steps", "shown"),
    [
        (["14|RUNNING|9|nightly|FOLDER|"], [], "SLURM job 14, running, 9, nightly (nightly); is it a controller?"),
        ([], [step], f"train.py --output {RUN}"),
        ([], [], ""),
    ],
    ids=["a job of another name", "a step", "a lock alone"],
)
def test_without_a_terminal_nothing_is_changed(folder, jobs, steps, shown):
    with_slurm(*(line.replace("FOLDER", str(folder)) for line in jobs))
    locked()
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(start()) for start in steps]
        run = call()
        assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
        assert run.stderr.startswith("error: there is no terminal to ask on, so nothing was changed")
        assert "--yes (make recover YES=1)" in run.stderr
        assert shown in run.stdout
        assert all(process.poll() is None for process in processes)
    assert LOCK.exists()


@pytest.mark.slow
def test_a_lock_alone_is_removed_when_the_user_agrees():
    locked()
    run = answering("n\n")
    assert run.returncode == 1
    assert "Is it certain that no Snakemake works in this folder on another machine?" in run.stdout
    assert LOCK.exists()
    for call_recover in (
        lambda: answering("y\n", "--no-restart"),
        lambda: call("--yes", "--no-restart"),
        lambda: call("--keep", "--no-restart"),
    ):
        locked()
        run = call_recover()
        assert run.returncode == 0, run.stderr
        assert not LOCK.exists()
    assert call("--no-restart").returncode == 0, "without a lock there is nothing to ask"


@pytest.mark.slow
def test_refused_while_a_controller_runs_here(folder):
    Path("go").unlink()
    with running("-m", "snakemake", "--cores", "1", until="runs_too") as process:
        run = call("--yes")
        assert run.returncode == 2
        assert f"Snakemake runs here, process {process.pid} on {socket.gethostname()}" in run.stderr
        assert process.poll() is None
        Path("go").touch()
        assert process.wait(60) == 0


@pytest.mark.slow
def test_arguments_that_snakemake_refuses():
    run = call("--", "--no-such-option")
    assert run.returncode == 2
    assert "error: snakemake --unlock --cores all --no-such-option: " in run.stderr
    assert "call this in that folder" in call("--", "--directory", "x").stderr


@pytest.mark.slow
def test_without_an_answer_of_slurm_the_user_must_know_that_no_job_runs():
    locked()
    command("squeue", DOWN)
    for run in (call(), answering("y\n")):
        assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
        assert run.stderr.startswith("error: squeue failed: slurm is down: jobs may still run")
        assert "make recover YES=1" in run.stderr
        assert "jobs of SLURM cannot be seen: squeue failed: slurm is down" in run.stdout
        assert LOCK.exists()
    for flag in ("--yes", "--keep"):
        locked()
        run = call(flag, "--no-restart")
        assert run.returncode == 0, run.stderr
        assert not LOCK.exists()


# Second copies


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
    assert "wait for its end and run again, or stop it (make recover YES=1 " in run.stderr
    assert LOCK.exists()


@pytest.mark.parametrize("job", [None, "14"])
def test_not_beside_a_step_without_a_lease(folder, job):
    with_slurm(f"14|RUNNING|9|nightly|{folder}|")
    with other_step(job=job) as process, step():
        found = find_orphans(folder)
        assert len(found.processes) == (2 if job is None else 1), "it is left alone with its job"
        with pytest.raises(UserError, match=rf"process {process.pid}, binarize.py --output .*: a second .*YES=1"):
            refuse_second_copies(found, folder)
