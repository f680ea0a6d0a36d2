"""ddp_launcher.py: the commands that start ranks, on one node and on several, and how their outcomes are reported."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

import tiny_training as tiny
from ekd_nmt.common.errors import Interrupted, UserError
from ekd_nmt.common.signals import exit_on_signal, handle_stop_signals
from ekd_nmt.config.types import count_ranks
from ekd_nmt.launch.ddp_launcher import check_outcomes, nodes_of_job, run_ranks, srun, torchrun
from ekd_nmt.resume.work_folder import WorkFolder
from project_copy import ROOT
from tiny_ranks import children

CALL = ["train.py", "--seed", "1"]
TORCHRUN = str(ROOT / "workflow_scripts/ekd_nmt/launch/torchrun_entry.py")

# delays the second rank, as a busy machine would
LATE = """import os, sys, time
if os.environ.get("RANK") == "1" and "--outcomes" in sys.orig_argv:
    time.sleep(2.5)
"""

# as the real one, it ends the tasks of all nodes when one fails, and passes its standard input to all
SRUN = f"""#!{sys.executable}
import subprocess, sys, time
command = sys.argv[sys.argv.index(sys.executable):]
tasks = [subprocess.Popen(command) for _ in range(2)]
while None in (ended := [task.poll() for task in tasks]) and not any(ended):
    time.sleep(0.05)
for task in tasks:
    task.terminate()
sys.exit(any([task.wait() for task in tasks]))
"""


def test_command_for_one_node():
    command = torchrun(CALL, gpus=4)
    assert command[:4] == ["sh", "-c", 'trap "" TERM INT HUP QUIT USR1; exec "$@"', "torchrun"]
    assert command[4:6] == [sys.executable, TORCHRUN]
    assert command[6:11] == ["--nnodes", "1", "--nproc-per-node", "4", "--standalone"]
    assert command[-3:] == CALL
    assert not any("rdzv" in word for word in command)


def test_command_for_several_nodes():
    command = srun(torchrun(CALL, gpus=4, nodes=2, host="node07", key="00ff"), nodes=2, threads=8)
    text = " ".join(command)
    assert text.startswith("srun --overlap --kill-on-bad-exit=1 --nodes 2 --ntasks 2 --ntasks-per-node 1 ")
    assert "--cpus-per-task 8 sh -c " in text
    assert f"torchrun {sys.executable} {TORCHRUN} --nnodes 2 --nproc-per-node 4 " in text
    assert "--rdzv-backend c10d --rdzv-endpoint node07:20255 --rdzv-id 00ff " in text
    assert command[-3:] == CALL
    assert "--standalone" not in command


def test_trainings_that_meet_on_one_node_have_ports_of_their_own():
    commands = [
        torchrun(CALL, gpus=1, nodes=2, host="node07", key=key) for key in ("9f2c61aa00bb34de", "9f2c61aa00bb34df")
    ]
    ports = {int(re.search(r"node07:(\d+)", " ".join(command))[1]) for command in commands}
    assert len(ports) == 2
    assert all(20000 <= port < 30000 for port in ports)


def test_ranks_of_all_nodes():
    assert count_ranks({"gpus": 4, "nodes": 2}) == 8


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A job of two nodes whose names lead to this machine, and a srun that runs a command twice, here."""
    bin_folder = tmp_path / "slurm"
    bin_folder.mkdir()
    program(
        bin_folder,
        "scontrol",
        '#!/bin/sh\n[ "$*" = "show hostnames local[host,host]" ] && printf "localhost\\nlocalhost\\n"\n',
    )
    program(bin_folder, "srun", SRUN)
    monkeypatch.setenv("PATH", os.pathsep.join([str(bin_folder), os.environ["PATH"]]))
    monkeypatch.setenv("SLURM_JOB_NODELIST", "local[host,host]")


def test_nodes_of_a_job(slurm):
    assert nodes_of_job(2) == ["localhost", "localhost"]
    with pytest.raises(UserError, match=r"training\.nodes: 3, but the SLURM job has 2 \(local\[host,host\]\)"):
        nodes_of_job(3)


def test_nodes_of_a_job_that_knows_its_number_alone(slurm, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_NODELIST")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    text = '#!/bin/sh\n[ "$*" = "--noheader --jobs 17 --format %N" ] && echo "local[host,host]"\n'
    program(tmp_path / "slurm", "squeue", text)
    assert nodes_of_job(2) == ["localhost", "localhost"]


@pytest.mark.slow
def test_two_nodes_of_one_rank_meet(slurm, tiny_corpus, tmp_path):
    process = tiny.start_training(tiny_corpus, tmp_path / "run", tiny.options("plain", nodes=2, max_epoch=1))
    lines = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 0, lines
    assert [re.sub(r"\d\d:\d\d:\d\d ", "", line)[:9] for line in lines] == [
        "plain: 1,",
        "2 ranks s",
        "epoch   1",
        "epoch   1",
    ]
    assert (tmp_path / "run/model.pt").exists()


@pytest.mark.slow
def test_several_nodes_need_a_cluster(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    process = tiny.start_training(tiny_corpus, tmp_path / "run", tiny.options("plain", nodes=2))
    (line,) = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 2
    assert re.match(r"error: training\.nodes: 2 nodes need SLURM, and this is no SLURM job; run", line)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
@pytest.mark.parametrize("signalled", ["leader", "everyone"])
@pytest.mark.parametrize("late", [False, True])
def test_ranks_that_are_stopped_while_they_start_exit_at_once(signalled, late, tiny_corpus, tmp_path, monkeypatch):
    if late:
        program(tmp_path, "sitecustomize.py", LATE)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = tiny.start_training(tiny_corpus, tmp_path / "run", tiny.options("plain", gpus=2))
    deadline = time.monotonic() + 60
    while len(ranks := [rank for launcher in children(process.pid) for rank in children(launcher)]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for each in [process.pid, *children(process.pid), *ranks] if signalled == "everyone" else [process.pid]:
        os.kill(each, signal.SIGTERM)
    log = process.communicate(timeout=25)[1]  # torchrun would wait for half a minute; the ranks hold the pipe open
    assert process.returncode == 75
    assert re.fullmatch(r"[\d:]+ stopped while no update was under way: progress is saved; run the same .*\n", log)
    assert not (tmp_path / "run").exists()


def test_a_signal_after_the_end_of_the_ranks_changes_nothing(tmp_path, monkeypatch, signal_handlers):
    """The model is in place then: with an exit status that asks for another attempt, Snakemake would delete it."""
    waited = []

    def wait_for_ranks(folder: Path) -> None:
        waited.append(folder)
        if len(waited) == 2:  # after torchrun
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("ekd_nmt.launch.ddp_launcher.wait_for_ranks", wait_for_ranks)
    monkeypatch.setattr("ekd_nmt.launch.ddp_launcher.torchrun", lambda call, gpus: ["true"])
    monkeypatch.setattr(WorkFolder, "environment", lambda work: os.environ)
    handle_stop_signals(exit_on_signal)
    run_ranks(CALL, {"gpus": 2, "nodes": 1}, 1, WorkFolder(tmp_path))
    os.kill(os.getpid(), signal.SIGTERM)
    assert waited == [tmp_path] * 2


INTERRUPTED = {"kind": "interrupted", "text": "SIGTERM at update 3: progress is saved"}
REFUSED = {"kind": "refused", "text": "model.pt: of another task"}
OS_ERROR = {"kind": "os_error", "arguments": [28, "No space left on device", "checkpoint_last.pt"]}
FAILED = {"kind": "failed", "traceback": "Traceback ...\nKeyError: 'x'"}
STOPPED = {"kind": "stopped"}
LOST = {"kind": "lost", "traceback": "Traceback ...\nRuntimeError: Connection closed by peer"}


def ended(*outcomes: dict | None, status: int = 1, stopped: bool = False, torchrun_log: str = "") -> None:
    """Check ranks that have left these outcomes, one a second."""
    found = {rank: outcome | {"time": rank} for rank, outcome in enumerate(outcomes) if outcome is not None}
    check_outcomes(found, len(outcomes), status=status, stopped=stopped, torchrun_log=torchrun_log)


def test_ranks_that_finish():
    ended(None, None, status=0)
    ended(None, None, status=0, stopped=True)  # too late


def test_ranks_that_are_stopped():
    with pytest.raises(Interrupted, match="SIGTERM at update 3: progress is saved"):
        ended(INTERRUPTED, INTERRUPTED, status=0, stopped=True)
    with pytest.raises(Interrupted):  # by the cluster, which signals each process
        ended(INTERRUPTED, INTERRUPTED, status=0)


@pytest.mark.parametrize(("stopped", "outcomes"), [(True, [None, None]), (False, [STOPPED, LOST])])
def test_ranks_that_are_stopped_before_the_first_update(stopped, outcomes, capsys):
    with pytest.raises(Interrupted, match="stopped while no update was under way: progress is saved"):
        ended(*outcomes, stopped=stopped)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("others", [[LOST], [None], [INTERRUPTED], [REFUSED], [LOST, REFUSED]])
def test_the_first_refusal_is_reported(others):
    with pytest.raises(UserError, match=r"model\.pt: of another task"):
        ended(REFUSED, *others)


def test_a_cause_is_reported_before_its_consequences(capsys):
    with pytest.raises(OSError, match="No space left on device") as error:
        ended(LOST, OS_ERROR)
    assert error.value.filename == "checkpoint_last.pt"
    with pytest.raises(SystemExit) as stop:
        ended(LOST, FAILED)
    assert stop.value.code == 1
    assert "KeyError: 'x'" in capsys.readouterr().err


@pytest.mark.parametrize("others", [[LOST, LOST], [STOPPED, LOST]])
def test_a_rank_that_was_killed(others, capsys):
    with pytest.raises(UserError, match="rank 2 of 3 was killed, perhaps because memory ran out"):
        ended(*others, None)
    assert capsys.readouterr().err == ""


def test_ranks_that_never_met(capsys):
    with pytest.raises(UserError, match="none of the 2 ranks of this training left an outcome"):
        ended(None, None, torchrun_log="the port is taken")
    with pytest.raises(UserError, match="cannot communicate"):
        ended(LOST, LOST)
    log = capsys.readouterr().err
    assert "the port is taken" in log
    assert "Connection closed by peer" in log
