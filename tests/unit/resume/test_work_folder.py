"""work_folder.py: the folder of a job's unfinished work, and who works there."""

import json
import os
import signal
import socket
import subprocess
import time
from unittest import mock

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.signals import STOP_SIGNALS
from ekd_nmt.resume import work_folder
from ekd_nmt.resume.lease import Lease
from ekd_nmt.resume.work_folder import Job, WorkFolder, work_folders
from left_behind import KEY, lease

JOB = {"command": "train", "revision": 1, "options": {"system": "student"}, "inputs": {"a/b.bin": "12ab"}}


@pytest.fixture
def start(tmp_path):
    """Open the folder of a job with one input file."""
    data = tmp_path / "data"
    data.write_text("1")
    return lambda revision=1: WorkFolder.open(tmp_path / "run", Job.of("train", revision, {"lr": 1}, [data]))


def test_the_key_depends_on_all_that_decides():
    changes = [{"command": "translate"}, {"revision": 2}, {"options": {"system": "teacher"}}]
    changes += [{"inputs": {"a/b.bin": "ff"}}, {"inputs": {"a/b.bin": "12ab", "c": "12ab"}}]
    keys = [Job(**JOB | change).key for change in ({}, *changes)]
    assert len(set(keys)) == len(keys)
    assert Job(**JOB | {"inputs": {"moved/b.bin": "12ab"}}).key == keys[0]


def test_a_job_resumes_in_its_folder_and_another_one_starts_in_its_own(start, tmp_path):
    with start() as work:
        (work.path / "checkpoint_last.pt").touch()
        written = (work.path / "job.json").stat().st_ino
        assert work.job.options == {"lr": 1}
    with start() as again:
        assert (again.path / "checkpoint_last.pt").exists()
        assert (again.path / "job.json").stat().st_ino == written, "it is written again"
    with start(revision=2) as other:
        assert other.path != again.path
        assert list(other.path.glob("checkpoint*")) == []
    (tmp_path / "data").write_text("2")
    with start() as other:
        assert other.path != again.path
    assert [folder.name for folder in (tmp_path / "run/progress").iterdir()] == [again.path.name]


def test_a_refused_job_leaves_nothing(start, tmp_path):
    def refuse():
        with start():
            raise UserError("refused")

    with pytest.raises(UserError, match="refused"):
        refuse()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_published_file_replaces_the_output_and_the_folder_is_cleared(start, tmp_path):
    output = tmp_path / "run/model.pt"
    with start() as work:
        output.write_text("earlier")
        (work.path / "model.pt").write_text("new")
        (work.path / "chunks").mkdir()
        work.publish(work.path / "model.pt", output)
        assert [signal.getsignal(number) for number in STOP_SIGNALS] == [signal.SIG_IGN] * len(STOP_SIGNALS)
        work.clear()
        assert sorted(os.listdir(work.path)) == ["lock", "owner.json"]
    assert output.read_text() == "new"
    assert os.listdir(tmp_path / "run") == ["model.pt"]


def test_a_published_folder_replaces_the_output(start, tmp_path):
    output = tmp_path / "run/cache"
    with start() as work:
        for folder, text in ((output, "earlier"), (work.path / "cache", "new"), (work.path / "replaced", "half")):
            folder.mkdir()
            (folder / text).touch()
        work.publish(work.path / "cache", output)
        assert (os.listdir(output), os.listdir(work.path / "replaced")) == (["new"], ["earlier"])


def test_without_the_lease_nothing_is_published(start, tmp_path, monkeypatch):
    with start() as work:
        (work.path / "model.pt").touch()
        monkeypatch.setattr(Lease, "is_held", lambda self: False)
        with pytest.raises(UserError, match="another train took over"):
            work.publish(work.path / "model.pt", tmp_path / "model.pt")
        with pytest.raises(UserError, match="another train took over"):
            work.check_lease()
    assert not (tmp_path / "model.pt").exists()
    assert (work.path / "owner.json").exists(), "it is the other process's"


def test_halvings_are_recorded_once_and_not_for_ever(tmp_path):
    work = WorkFolder(tmp_path)
    assert work.halvings == []
    work.halve_batches("too large", 3, 0)
    work.halve_batches("reported by another rank", 3, 0)
    work.halve_batches("still too large", None, 1)
    assert [(each.cause, each.update) for each in work.halvings] == [("too large", 3), ("still too large", None)]
    for _ in range(2, work_folder.MOST_HALVINGS):
        work.halve_batches("too large")
    with pytest.raises(UserError, match="too large, though batches are halved 6 times already; request more memory"):
        work.halve_batches("too large")


@pytest.mark.parametrize("content", ["[", "[1]", '{"cause": "too large"}'])
def test_a_damaged_record_of_halvings_is_an_error(tmp_path, content):
    (tmp_path / work_folder.HALVINGS).write_text(content)
    with pytest.raises(UserError, match=r"out_of_memory\.json: .*; delete it and run again"):
        WorkFolder(tmp_path).halvings  # noqa: B018


@pytest.mark.parametrize(("cause", "halvings"), [("the kernel killed it", 1), (None, 0)])
def test_a_kill_because_of_memory_halves_batches(start, tmp_path, monkeypatch, cause, halvings):
    asked = mock.Mock(return_value=cause)
    monkeypatch.setattr(work_folder, "killed_for_memory", asked)
    with start() as work:
        work.halve_batches_after_kill()
        asked.assert_not_called()  # no process was killed before
    (lease(work.path) / "lock").unlink()
    with start() as work:
        work.halve_batches_after_kill()
        assert len(work.halvings) == halvings
    assert asked.call_args.args[0].pid == 7


@pytest.mark.parametrize("change", [{"command": "sleep"}, {"revision": "1"}, {"options": []}, {"inputs": 3}])
def test_a_damaged_job_is_none(tmp_path, change):
    for content in ("", "[]", "{}", json.dumps(JOB | change)):
        (tmp_path / "job.json").write_text(content)
        assert WorkFolder(tmp_path).job is None
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    assert WorkFolder(tmp_path).job is not None


@pytest.mark.parametrize(
    ("owner", "runs"),
    [
        ({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}, True),
        ({"pid": 2**22 + 1, "host": socket.gethostname()}, False),
        # the number was given to a process that started later
        ({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time() - 10**6}, False),
        ({"host": "elsewhere"}, True),
    ],
)
def test_whether_the_owner_runs(tmp_path, owner, runs):
    assert (WorkFolder(lease(tmp_path / KEY, **owner)).running_owner() is not None) == runs


def test_a_zombie_does_not_run(tmp_path):
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        place = lease(tmp_path / KEY, pid=process.pid, host=socket.gethostname(), since=time.time())
        assert WorkFolder(place).running_owner() is None


def test_an_owner_on_another_machine_runs_while_it_has_a_heartbeat(tmp_path):
    assert WorkFolder(lease(tmp_path / "a", age=60)).running_owner().pid == 7
    assert WorkFolder(lease(tmp_path / "b", age=3600)).running_owner() is None
    assert WorkFolder(tmp_path).running_owner() is None
    (tmp_path / "a/owner.json").unlink()
    assert WorkFolder(tmp_path / "a").running_owner() is not None, "it has a lock, and will write who it is"


def test_work_folders_are_found_where_steps_put_them(tmp_path):
    (tmp_path / "disk").mkdir()
    results = tmp_path / "results"
    results.symlink_to(tmp_path / "disk")
    run = results / "demo/student/seed1"
    found = [run / "cache/progress" / KEY, run / "progress" / KEY]
    others = [run / "progress/backup", results / "demo/student/notes/progress" / KEY, results / "demo/progress" / KEY]
    for folder in (*found, *others, tmp_path / "outside/seed1/progress" / KEY):
        folder.mkdir(parents=True)
    (results / "demo/linked").symlink_to(tmp_path / "outside")
    (run.parent / "seed2").symlink_to(run)
    (run.parent / "seed3").mkdir()
    (run.parent / "seed3/progress").symlink_to(run / "progress")
    (run.parent / "seed3/cache").symlink_to(run / "cache")
    (run / "progress" / KEY[::-1]).symlink_to(run / "progress" / KEY)
    assert [work.path for work in work_folders(results / "demo")] == found
    assert work_folders(tmp_path / "nothing") == []


@pytest.mark.parametrize("name", ["checkpoint_last.pt", "cache/train.00000.npy", "chunks/000001.jsonl"])
def test_what_counts_as_work(tmp_path, name):
    for other in ("attempts.jsonl", ".checkpoint_last.pt.x.tmp", "owner.json"):
        (tmp_path / other).touch()
    assert not WorkFolder(tmp_path).holds_work
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert WorkFolder(tmp_path).holds_work
