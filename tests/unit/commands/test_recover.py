"""recover.py: what a killed controller left running is stopped when the user agrees, and nothing else is touched."""

import signal
import socket
import time
from pathlib import Path

import pytest

import recover
from ekd_nmt.cluster import orphans
from ekd_nmt.cluster.orphans import find_orphans
from ekd_nmt.cluster.processes import controllers
from ekd_nmt.common.errors import UserError
from left_behind import KEY, RUN, lease, running, step
from left_by_slurm import DOWN, answering, call, command, put_workflow, with_slurm


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a workflow of one rule and a step that only waits; a SLURM without jobs."""
    return put_workflow(tmp_path, monkeypatch)


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


def test_without_an_answer_of_slurm_the_reason_is_known(folder, monkeypatch):
    command("squeue", DOWN)
    assert find_orphans(folder).problem == "squeue failed: slurm is down"
    command("squeue", "#!/bin/sh\nsleep 60\n")
    monkeypatch.setattr(orphans, "QUERY_SECONDS", 0.2)
    assert "no answer" in find_orphans(folder).problem
    monkeypatch.setenv("PATH", f"{folder}/bin")
    Path("bin/squeue").chmod(0o644)
    found = find_orphans(folder)
    assert (found.problem, found.may_miss_jobs) == ("squeue failed: Permission denied", True)
    Path("bin/squeue").unlink()
    found = find_orphans(folder)
    assert (found.problem, found.may_miss_jobs) == ("there is no squeue on this machine", False)


def test_a_process_of_a_listed_job_is_not_listed_again(folder):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_train", f"14|RUNNING|9|nightly|{folder}|")
    with step() as process, step(job="11"), step(job="14"):
        assert [each.pid for each in find_orphans(folder).processes] == [process.pid]


def test_stop_lets_steps_save_and_kills_those_that_do_not_end(folder):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_train", f"12|RUNNING|1|other|{folder}|")
    with step() as process, step("--deaf", until="runs_deaf") as deaf:
        began = time.monotonic()
        recover.stop(find_orphans(folder), folder)
        assert process.wait(1) == 75
        assert deaf.wait(1) == -signal.SIGKILL
        assert time.monotonic() - began >= 1
    assert Path("saved").exists()
    assert Path("cancelled").read_text().split() == ["11"]


def test_a_process_that_outlives_its_job_is_stopped(folder):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_train")
    with step(job="11") as process:
        found = find_orphans(folder)
        assert not found.processes
        recover.stop(found, folder)
        assert process.wait(1) == 75


def test_jobs_that_do_not_end(folder):
    with_slurm(f"11|COMPLETING|1:02|ekd_ab|{folder}|rule_train")
    command("scancel", "#!/bin/sh\necho Access denied >&2; exit 1\n")
    with pytest.raises(UserError, match=r"SLURM has not ended 11 .*Access denied.*scontrol show job 11"):
        recover.stop(find_orphans(folder), folder)


def test_no_answer_is_not_taken_for_an_empty_queue(folder):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_train")
    found = find_orphans(folder)
    command("squeue", "#!/bin/sh\nexit 1\n")
    with pytest.raises(UserError, match=r"SLURM has not ended 11 .*squeue failed"):
        recover.stop(found, folder)


def test_other_work_that_has_started_meanwhile(folder):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_train")
    found = find_orphans(folder)
    command("scancel", f"#!/bin/sh\necho '99|PENDING|0|ekd_cd|{folder}|rule_score' > queue\n")
    with pytest.raises(UserError, match=r"SLURM job 99, .*stop its controller"):
        recover.stop(found, folder)


def test_leases_of_other_machines_are_reported_and_their_runs_kept(folder, capsys):
    with_slurm(f"11|RUNNING|1:02|ekd_ab|{folder}|rule_train")
    held = lease(f"{RUN}/progress/{KEY}", age=30)
    lease("results/demo/junior/seed1/progress/" + KEY, age=3600)
    lease("results/demo/senior/seed1/progress/" + KEY, job="11")
    lease("results/demo/master/seed1/progress/" + KEY, host=socket.gethostname(), pid=2**22 + 1)
    for place in (RUN, f"{held}", "results/demo/junior/seed1", "resources/multi30k"):
        Path(place).mkdir(parents=True, exist_ok=True)
        Path(place, ".x.json.abc.tmp").touch()
    found = find_orphans(folder)
    assert [work.path for work, _ in found.elsewhere] == [held]
    recover.show(found)
    printed = capsys.readouterr().out
    assert f"{held}: held by process 7 on elsewhere, last heartbeat 3" in printed
    assert "a controller on another machine cannot be seen" in printed
    recover.remove_temporaries(found)
    assert sorted(map(str, Path().rglob(".*.tmp"))) == [f"{RUN}/.x.json.abc.tmp", f"{held}/.x.json.abc.tmp"]


def test_only_what_is_half_written_is_removed(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / ".mine.tmp").touch()
    kept = ["resources/wmt/corpus.gz.part", f"{RUN}/progress/{KEY}/checkpoint_last.pt", "results/x.tmp", "other/.x.tmp"]
    gone = [
        "results/.a.tmp",
        f"{RUN}/progress/{KEY}/.b.tmp",
        "results/demo/data/.b.x.tmp/train.bin",
        "resources/.c.tmp",
    ]
    for path in map(Path, (*kept, *gone)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Path("results/link").symlink_to(outside)
    Path("results/.link.tmp").symlink_to(outside)
    recover.remove_temporaries(find_orphans(folder))
    assert all(Path(path).exists() for path in (*kept, outside / ".mine.tmp"))
    assert not any(Path(path).exists() for path in (*gone, "results/demo/data/.b.x.tmp", "results/.link.tmp"))


def test_a_job_of_another_name_may_be_a_controller(folder):
    with_slurm(f"14|RUNNING|9|nightly|{folder}|")
    run = call()
    assert run.returncode == 2
    assert "SLURM job 14, running, 9, nightly (nightly); is it a controller?" in run.stdout
    assert "there is no terminal to ask on" in run.stderr


def test_without_a_terminal(folder):
    Path("results").mkdir()
    Path("results/.x.tmp").touch()
    with step() as process:
        run = call()
        assert run.returncode == 2
        assert len(run.stderr.splitlines()) == 1
        assert "--yes" in run.stderr
        assert f"process {process.pid}, train.py --output {RUN}" in run.stdout
        assert process.poll() is None
    assert Path("results/.x.tmp").exists()


@pytest.mark.slow
def test_no_yes_and_keep(folder):
    Path("results").mkdir()
    Path("results/.x.tmp").touch()
    with step() as process:
        run = answering("n\n")
        assert run.returncode == 1
        assert "nothing was stopped" in run.stdout
        assert "--keep" in run.stdout
        assert not Path("saved").exists()

        run = call("--keep", "--", "--cores", "1", "--quiet", "all")
        assert run.returncode == 0, run.stderr
        assert process.poll() is None
        assert Path("results/.x.tmp").exists(), "it may belong to what still runs"
        assert Path("results/done").exists()
        Path("results/done").unlink()

        run = answering("y\n", "--", "--quiet", "all")
        assert run.returncode == 0, run.stderr
        assert process.wait(1) == 75
    assert "snakemake --rerun-incomplete --cores all --quiet all" in run.stdout
    assert not Path("results/.x.tmp").exists()
    assert Path("results/done").exists()


@pytest.mark.slow
def test_refused_while_a_controller_runs_here(folder):
    Path("go").unlink()
    with running("-m", "snakemake", "--cores", "1", until="runs_too") as process:
        assert [each.pid for each in controllers(folder)] == [process.pid]
        run = call("--yes")
        assert run.returncode == 2
        assert f"Snakemake runs here, process {process.pid} on {socket.gethostname()}" in run.stderr
        assert process.poll() is None
        Path("go").touch()
        assert process.wait(60) == 0


@pytest.mark.slow
def test_arguments_that_snakemake_refuses(folder):
    run = call("--", "--no-such-option")
    assert run.returncode == 2
    assert "error: snakemake --unlock --cores all --no-such-option: " in run.stderr
    assert "call this in that folder" in call("--", "--directory", "x").stderr
