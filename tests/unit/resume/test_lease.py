"""lease.py: one writer to a folder of unfinished work, whether the others live, are dead, or only seem to be."""

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
from ekd_nmt.resume.lease import Claim, claimed, inherited, to_inherit

LEASE = "1.5"  # seconds, of the processes that these tests start
HOLD = """
import sys, time
from pathlib import Path
from ekd_nmt.resume.lease import claimed
from ekd_nmt.common.command import run
def main():
    with claimed(Path(sys.argv[1])) as claim:
        print("claimed", flush=True)
        for line in sys.stdin:
            claim.check()
            print("checked", flush=True)
run(main)
"""


@pytest.fixture
def progress(tmp_path):
    return tmp_path / "run/progress/key"


@pytest.fixture
def other(progress):
    """Another process that claims the folder; ``claimed`` has been read from it."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(lease.__file__).parents[2]),
        "EKD_LEASE_SECONDS": LEASE,
        "SLURM_JOB_ID": "17",
    }
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    call = [sys.executable, "-c", HOLD, str(progress)]
    with subprocess.Popen(call, text=True, env=environment, **pipes) as process:
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


@pytest.fixture
def short(monkeypatch):
    """Processes here agree with the other one on the lease."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", float(LEASE))
    monkeypatch.setattr(lease, "CLAIM_SECONDS", 0.2)


def test_a_second_one_waits_and_is_refused_while_the_first_lives(progress, other, short, capsys):
    started = time.monotonic()
    message = rf"another training writes here, process {other.pid} on \S+ in SLURM job 17, and it is running; wait for"
    with pytest.raises(UserError, match=message), claimed(progress):
        pass
    assert time.monotonic() - started >= 0.2
    assert "waiting up to 0.2 s for its end" in capsys.readouterr().err
    print(file=other.stdin, flush=True)
    assert other.stdout.readline() == "checked\n"


def test_a_second_one_goes_on_when_the_first_has_ended(progress, other, short, monkeypatch, capsys):
    monkeypatch.setattr(lease, "CLAIM_SECONDS", 60)
    (progress / "checkpoint").touch()
    other.stdin.close()
    with claimed(progress) as claim:
        claim.check()
        assert claim.previous is None
    assert "was killed" not in capsys.readouterr().err
    assert os.listdir(progress) == ["checkpoint"]


@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_a_folder_that_is_removed_between_two_looks_at_it(progress, other, short, monkeypatch, look):
    """pathlib tries to make a folder, and looks whether it is one if it exists."""
    monkeypatch.setattr(lease, "CLAIM_SECONDS", 60)
    mkdir, looks = os.mkdir, []

    def late(path, *arguments, **options):
        try:
            mkdir(path, *arguments, **options)
        except FileExistsError:
            if Path(path) == progress:
                looks.append(path)
                if len(looks) == look:
                    other.stdin.close()
                    other.wait()
                    assert not progress.exists()
            raise

    monkeypatch.setattr(os, "mkdir", late)
    with claimed(progress) as claim:
        claim.check()
    assert len(looks) >= look


def test_a_file_in_the_place_of_the_folder(progress):
    progress.parent.mkdir(parents=True)
    progress.touch()
    with pytest.raises(FileExistsError), claimed(progress):
        pass


def test_the_work_of_a_killed_one_is_taken_over_at_once(progress, other, short, capsys):
    other.kill()
    other.wait()
    with claimed(progress) as claim:
        assert claim.previous["pid"] == other.pid
        assert claim.previous["job"] == "17"
        owner = json.loads((progress / "owner.json").read_text())
        assert (owner["pid"], owner["work"]) == (os.getpid(), "training")
    said = capsys.readouterr().err
    assert f"process {other.pid} on" in said
    assert "in SLURM job 17, was killed; its progress is gone on with" in said


def test_one_that_slept_longer_than_the_lease_loses_it(progress, other, short, monkeypatch):
    monkeypatch.setattr(lease, "CLAIM_SECONDS", 60)
    other.send_signal(signal.SIGSTOP)  # as a machine that is cut off
    with claimed(progress) as claim:
        other.send_signal(signal.SIGCONT)
        print(file=other.stdin, flush=True)
        assert other.wait(30) == 2
        assert "another training has taken over here, because this one gave no sign of life" in other.stderr.read()
        claim.check()
        assert json.loads((progress / "owner.json").read_text())["pid"] == os.getpid(), "the loser has removed it"


def test_a_lease_of_another_length(progress, other, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 7.0)
    with pytest.raises(UserError, match="another EKD_LEASE_SECONDS; give all processes the same"), claimed(progress):
        pass


def test_a_process_that_works_for_another_shares_its_claim(progress, monkeypatch):
    with claimed(progress) as claim:
        monkeypatch.setattr(os, "environ", to_inherit(claim))
        inherited(progress).check()
        with pytest.raises(UserError):
            Claim(progress, "training", "another token").check()
    with pytest.raises(UserError):
        inherited(progress).check()


def test_what_was_refused_leaves_no_trace(progress, tmp_path):
    def refuse():
        with claimed(progress):
            (progress / "job.json").touch()
            raise UserError("refused")

    with pytest.raises(UserError, match="refused"):
        refuse()
    assert list(tmp_path.iterdir()) == []


def test_finished_work_is_cleared_away(progress, tmp_path):
    with claimed(progress):
        (progress / "cache").mkdir()
        (progress / "cache/file").touch()
        (progress / "job.json").touch()
        lease.clear(progress)
        assert sorted(os.listdir(progress)) == ["lock", "owner.json"]
    assert list(tmp_path.iterdir()) == []
