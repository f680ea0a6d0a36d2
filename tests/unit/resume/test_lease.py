"""lease.py: one writer to a folder, whether other processes run, have ended, or are suspended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.resume import lease
from ekd_nmt.resume.lease import Lease, hold

LEASE = "1.5"  # seconds, of the processes that these tests start
HOLD = """
import sys, time
from pathlib import Path
from ekd_nmt.resume.lease import hold
from ekd_nmt.common.command import run
def main():
    with hold(Path(sys.argv[1]), "train") as lease:
        print("held", flush=True)
        for line in sys.stdin:
            lease.check()
            print("checked", flush=True)
run(main)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run/progress/key"


@pytest.fixture
def other(folder):
    """Another process that holds the folder."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(lease.__file__).parents[2]),
        "EKD_LEASE_SECONDS": LEASE,
        "SLURM_JOB_ID": "17",
    }
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    call = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(call, text=True, env=environment, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def short(monkeypatch):
    """The same length of a lease as in the other process."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", float(LEASE))
    monkeypatch.setattr(lease, "LEASE_WAIT_SECONDS", 0.2)


def test_a_second_process_waits_and_gives_up_while_the_first_runs(folder, other, short, capsys):
    started = time.monotonic()
    message = rf"another train runs here, process {other.pid} on \S+ in SLURM job 17; wait for its end"
    with pytest.raises(UserError, match=message), hold(folder, "train"):
        pass
    assert time.monotonic() - started >= 0.2
    assert "waiting up to 0.2 s for it to end" in capsys.readouterr().err
    print(file=other.stdin, flush=True)
    assert other.stdout.readline() == "checked\n"


def test_a_second_process_continues_when_the_first_has_ended(folder, other, short, monkeypatch, capsys):
    monkeypatch.setattr(lease, "LEASE_WAIT_SECONDS", 60)
    (folder / "checkpoint").touch()
    other.stdin.close()
    with hold(folder, "train") as held:
        held.check()
        assert held.previous is None
    assert "was killed" not in capsys.readouterr().err
    assert os.listdir(folder) == ["checkpoint"]


@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_a_folder_that_is_removed_between_two_looks_at_it(folder, other, short, monkeypatch, look):
    """pathlib tries to make a folder, and looks whether it is one if it exists."""
    monkeypatch.setattr(lease, "LEASE_WAIT_SECONDS", 60)
    mkdir, looks = os.mkdir, []

    def late(path, *arguments, **options):
        try:
            mkdir(path, *arguments, **options)
        except FileExistsError:
            if Path(path) == folder:
                looks.append(path)
                if len(looks) == look:
                    other.stdin.close()
                    other.wait()
                    assert not folder.exists()
            raise

    monkeypatch.setattr(os, "mkdir", late)
    with hold(folder, "train") as held:
        held.check()
    assert len(looks) >= look


def test_a_file_in_the_place_of_the_folder(folder):
    folder.parent.mkdir(parents=True)
    folder.touch()
    with pytest.raises(FileExistsError), hold(folder, "train"):
        pass


def test_the_work_of_a_killed_process_is_taken_over_at_once(folder, other, short, capsys):
    other.kill()
    other.wait()
    with hold(folder, "train") as held:
        assert held.previous.pid == other.pid
        assert held.previous.job == "17"
        owner = json.loads((folder / "owner.json").read_text())
        assert (owner["pid"], owner["command"]) == (os.getpid(), "train")
    log = capsys.readouterr().err
    assert f"process {other.pid} on" in log
    assert "in SLURM job 17, was killed; resuming its work" in log


def test_a_process_suspended_for_longer_than_the_lease_loses_it(folder, other, short, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_WAIT_SECONDS", 60)
    other.send_signal(signal.SIGSTOP)  # as a machine that is cut off
    with hold(folder, "train") as held:
        other.send_signal(signal.SIGCONT)
        print(file=other.stdin, flush=True)
        assert other.wait(30) == 2
        assert "another train took over, because this one had no heartbeat for 1.5 s" in other.stderr.read()
        held.check()
        assert json.loads((folder / "owner.json").read_text())["pid"] == os.getpid(), "the loser has removed it"


def test_a_lease_of_another_length(folder, other, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 7.0)
    with (
        pytest.raises(UserError, match="a different EKD_LEASE_SECONDS; use one value for all processes"),
        hold(folder, "train"),
    ):
        pass


def test_a_child_process_inherits_the_lease(folder, monkeypatch):
    with hold(folder, "train") as held:
        monkeypatch.setattr(os, "environ", held.environment())
        Lease.inherited(folder, "train").check()
        with pytest.raises(UserError):
            Lease(folder, "train", "another token").check()
    with pytest.raises(UserError):
        Lease.inherited(folder, "train").check()
