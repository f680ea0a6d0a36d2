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


@pytest.mark.parametrize(("key", "port"), [("00ff", 20255), ("9f2c61aa00bb34de", 24046), ("9f2c61aa00bb34df", 24047)])
def test_command_for_several_nodes(key, port):
    """Trainings that meet on one node have ports of their own."""
    command = srun(torchrun(CALL, gpus=4, nodes=2, host="node07", key=key), nodes=2, threads=8)
    text = " ".join(command)
    assert text.startswith("srun --overlap --kill-on-bad-exit=1 --nodes 2 --ntasks 2 --ntasks-per-node 1 ")
    assert "--cpus-per-task 8 sh -c " in text
    assert f"torchrun {sys.executable} {TORCHRUN} --nnodes 2 --nproc-per-node 4 " in text
    assert f"--rdzv-backend c10d --rdzv-endpoint node07:{port} --rdzv-id {key} " in text
    assert command[-3:] == CALL
    assert "--standalone" not in command


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
    log = process.communicate(timeout=120)[1]
    assert process.returncode == 0, log
    assert re.findall(r"^[\d:]+ (\w+:|2 ranks|epoch)", log, re.MULTILINE) == ["plain:", "2 ranks", "epoch", "epoch"]
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
    assert waited == [tmp_path / "ranks"] * 2


INTERRUPTED = {"kind": "Interrupted", "arguments": ["SIGTERM at update 3: progress is saved"]}
REFUSED = {"kind": "UserError", "arguments": ["model.pt: of another task"]}
OS_ERROR = {"kind": "OSError", "arguments": [28, "No space left on device", "checkpoint_last.pt"]}
FAILED = {"kind": "failed", "traceback": "Traceback ...\nKeyError: 'x'"}
STOPPED = {"kind": "stopped"}
LOST = {"kind": "lost", "traceback": "Traceback ...\nRuntimeError: Connection closed by peer"}
STOP = (UserError, r"model\.pt: of another task", "")
NO_UPDATE = (Interrupted, "stopped while no update was under way: progress is saved", "")
KILLED = (UserError, "rank 2 of 3 was killed, perhaps because memory ran out", "")


def ended(*outcomes: dict | None, status: int = 1, stopped: bool = False) -> None:
    """Check ranks that have left these outcomes, one a second."""
    found = {rank: outcome | {"time": rank} for rank, outcome in enumerate(outcomes) if outcome is not None}
    check_outcomes(found, len(outcomes), status=status, stopped=stopped, torchrun_log="the port is taken")


@pytest.mark.parametrize("stopped", [False, True])  # too late
def test_ranks_that_finish(stopped):
    ended(None, None, status=0, stopped=stopped)


@pytest.mark.parametrize(
    ("outcomes", "how", "expected"),
    [
        ([INTERRUPTED, INTERRUPTED], {"status": 0, "stopped": True}, (Interrupted, "SIGTERM at update 3", "")),
        ([INTERRUPTED, INTERRUPTED], {"status": 0}, (Interrupted, "progress is saved", "")),  # signals to each process
        ([None, None], {"stopped": True}, NO_UPDATE),
        ([STOPPED, LOST], {}, NO_UPDATE),
        # the first refusal
        ([REFUSED, LOST], {}, STOP),
        ([REFUSED, None], {}, STOP),
        ([REFUSED, INTERRUPTED], {}, STOP),
        ([REFUSED, REFUSED], {}, STOP),
        ([REFUSED, LOST, REFUSED], {}, STOP),
        # a cause before its consequences
        ([LOST, OS_ERROR], {}, (OSError, r"No space left on device: 'checkpoint_last\.pt'", "")),
        ([LOST, FAILED], {}, (SystemExit, "1", "KeyError: 'x'")),
        ([LOST, LOST, None], {}, KILLED),
        ([STOPPED, LOST, None], {}, KILLED),
        ([None, None], {}, (UserError, "none of the 2 ranks of this training left an outcome", "the port is taken")),
        ([LOST, LOST], {}, (UserError, "cannot communicate", "Connection closed by peer")),
    ],
)
def test_ranks_that_end_early(outcomes, how, expected, capsys):
    error, message, log = expected
    with pytest.raises(error, match=message):
        ended(*outcomes, **how)
    printed = capsys.readouterr().err
    assert log in printed if log else not printed
