"""Two ranks train as one process with twice as many batches an update, and can be stopped and killed as one."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import tiny_ranks
import tiny_training as tiny
import train
from ekd_nmt.common.errors import UserError
from ekd_nmt.launch.ddp_launcher import torchrun, wait_for_ranks
from ekd_nmt.resume.training_inputs import training_inputs
from ekd_nmt.resume.work_folder import Job, WorkFolder
from kd.distributed import Ranks, connect
from kd.trainer import Trainer
from tiny_ranks import children

# they train, through fairseq
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("signal_handlers")]

UPDATES, SECONDS = 100, 120
# five batches an epoch, so that the second rank lacks its last one
ALIKE = {"dropout": 0.0, "update_freq": 2, "max_tokens": 40, "max_epoch": 34, "max_update": UPDATES, "lr": 0.03}
ALIKE |= {"validation": {"interval": 12}}
SYSTEMS = ("plain", "pupil")


@pytest.fixture(scope="module")
def single(tiny_corpus, teacher, tmp_path_factory):
    """What one process gives, by system."""
    folder = tmp_path_factory.mktemp("single")
    return {
        system: tiny_ranks.train(
            tiny.options(system, **ALIKE), tiny_corpus, folder / system, teacher if system == "pupil" else None
        )
        for system in SYSTEMS
    }


@pytest.fixture(scope="module")
def together(tiny_corpus, teacher, tmp_path_factory):
    """What two ranks give, by system, and the folder with a folder for each."""
    folder = tmp_path_factory.mktemp("together")
    runs = [
        {"resolved": tiny.options(system, gpus=2, **ALIKE), "corpus": str(tiny_corpus), "folder": str(folder / system)}
        for system in SYSTEMS
    ]
    runs[1]["teacher"] = str(teacher)
    call = [tiny_ranks.__file__, *map(json.dumps, runs), str(folder / "results.json")]
    places = {"PYTHONPATH": os.pathsep.join([str(tiny.SCRIPT.parent), str(Path(tiny.__file__).parent)])}
    subprocess.run(torchrun(call, gpus=2), check=True, timeout=SECONDS, env=os.environ | places)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return dict(zip(SYSTEMS, results, strict=True)), folder


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_ranks_are_one_process_with_twice_the_batches(single, together, system):
    expected, found = single[system], together[0][system]
    assert (expected["batches"], found["batches"]) == (5, 3)
    assert len(found["losses"]) == UPDATES
    assert found["losses"][-1] < 0.7 * found["losses"][0]
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)
    assert found["tokens"] == expected["tokens"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_ranks_validate_as_one_process(single, together, system):
    expected, found = (
        [record for record in result["history"] if record["event"] == "valid"]
        for result in (single[system], together[0][system])
    )
    assert [record["epoch"] for record in found] == [12, 24, 34]
    assert [record["bleu"] for record in found] == [record["bleu"] for record in expected]
    assert found[-1]["bleu"] > 1
    for key in ("loss", "nll_loss", "kd_loss")[: 2 if system == "plain" else 3]:
        assert [record[key] for record in found] == pytest.approx([record[key] for record in expected], abs=2e-3)


def start(corpus: Path, output: Path, **overrides) -> subprocess.Popen:
    return tiny.start_training(corpus, output, tiny.options("plain", gpus=2, **ALIKE, **overrides))


def read_until(process: subprocess.Popen, pattern: str) -> None:
    next(line for line in process.stderr if re.search(pattern, line))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
def test_killed_and_stopped_trainings_resume(tiny_corpus, together, tmp_path):
    process = start(tiny_corpus, tmp_path)
    read_until(process, "epoch +2 train")
    (launcher,) = children(process.pid)
    ranks = children(launcher)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    lines = process.communicate(timeout=SECONDS)[1].splitlines()
    assert process.returncode == 2
    assert re.match("error: rank 1 of 2 was killed, .*; run the", lines[-1])
    assert not any(line.startswith("error: ") or "Traceback" in line for line in lines[:-1])

    process = start(tiny_corpus, tmp_path)
    read_until(process, "resuming from update")
    read_until(process, "epoch +5 train")
    process.send_signal(signal.SIGTERM)
    lines = process.communicate(timeout=SECONDS)[1].splitlines()
    assert process.returncode == 75
    assert re.search(r"SIGTERM at update \d+: progress is saved; run the same command again to resume", lines[-1])

    process = start(tiny_corpus, tmp_path)
    read_until(process, "resuming from update")
    read_until(process, "epoch +9 train")
    process.kill()
    # the pipe is closed once the ranks, which write to it as well, are gone
    assert "error" not in process.communicate(timeout=SECONDS)[1]
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "model.pt").exists()

    process = start(tiny_corpus, tmp_path)
    read_until(process, "resuming from update")
    lines = process.communicate(timeout=SECONDS)[1].splitlines()
    assert process.returncode == 0
    assert all(re.match(r"\d\d:\d\d:\d\d epoch", line) for line in lines[2:]), lines
    results, folder = together
    assert tiny.history(tmp_path) == results["plain"]["history"]
    assert (tmp_path / "model.pt").read_bytes() == (folder / "plain/model.pt").read_bytes()
    assert json.loads((tmp_path / "train.json").read_text())["tokens_per_second"] > 0
    (folder,) = (tmp_path / "progress").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "attempts.jsonl",
        "checkpoint_best.pt",
        "checkpoint_last.pt",
        "job.json",
        "pulse",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
def test_the_ranks_of_a_killed_torchrun_are_waited_for(tiny_corpus, tmp_path):
    process = start(tiny_corpus, tmp_path)
    read_until(process, "epoch +2 train")
    (launcher,) = children(process.pid)
    ranks = children(launcher)
    os.kill(ranks[1], signal.SIGSTOP)  # so that neither makes another update
    os.kill(launcher, signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    os.kill(ranks[1], signal.SIGCONT)
    lines = process.communicate(timeout=SECONDS)[1].splitlines()
    assert process.returncode == 75, lines
    assert re.search(r"SIGTERM at update \d+: progress is saved", lines[-1])


def test_a_second_start_waits_for_ranks_that_run(tmp_path, monkeypatch):
    monkeypatch.setattr("ekd_nmt.launch.ddp_launcher._RANKS_SECONDS", 0.2)
    call = [sys.executable, "-c", "input()", "--outcomes", str(tmp_path)]
    with (
        subprocess.Popen(call, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL),
        pytest.raises(UserError, match=r"ranks of this training still run after 0\.2 s; stop them"),
    ):
        wait_for_ranks(tmp_path)
    wait_for_ranks(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
def test_a_rank_that_is_killed_because_memory_ran_out(tiny_corpus, tmp_path, monkeypatch, signal_handlers):
    """The kernel's count is made up; the kill is real."""
    monkeypatch.setattr("ekd_nmt.launch.ddp_launcher.killed_for_memory", lambda before: "the kernel killed a rank")

    def kill_one(process: subprocess.Popen) -> None:
        while len(ranks := children(process.pid)) < 2:
            time.sleep(0.1)
        os.kill(ranks[1], signal.SIGKILL)

    original = subprocess.Popen

    def start_and_kill(command, **options):
        process = original(command, **options)
        if any(word.endswith("torchrun_entry.py") for word in command):
            threading.Thread(target=kill_one, args=[process]).start()
        return process

    monkeypatch.setattr("ekd_nmt.launch.ddp_launcher.subprocess.Popen", start_and_kill)
    resolved = tiny.options("plain", gpus=2, **ALIKE)
    with pytest.raises(SystemExit) as stop:
        tiny.run_training(tiny_corpus, tmp_path, resolved)
    assert stop.value.code == 75
    (folder,) = (tmp_path / "progress").iterdir()
    assert [entry.cause for entry in WorkFolder(folder).halvings] == ["the kernel killed a rank"]


def test_batches_of_ranks_are_split_too(tiny_corpus, together, tmp_path):
    """One of two ranks lacks its last batch at the end of each epoch."""
    resolved = tiny.options("plain", gpus=2, **ALIKE | {"max_update": None, "max_epoch": 4})
    job = Job.of("train", train.REVISION, resolved | {"seed": 1}, training_inputs(tiny_corpus, None))
    folder = tmp_path / "progress" / job.key
    folder.mkdir(parents=True)
    WorkFolder(folder).halve_batches("too large")
    process = tiny.start_training(tiny_corpus, tmp_path, resolved)
    log = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, log
    assert "update_freq 1 -> 2; an update has the same sentences as before" in log
    (whole, _), found = together, tiny.history(tmp_path)
    whole = [record for record in whole["plain"]["history"] if record["event"] == "train"][:4]
    for one, other in zip(whole, (record for record in found if record["event"] == "train"), strict=True):
        assert one["updates"] == other["updates"]
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_what_both_ranks_refuse_is_printed_once(tiny_corpus, tmp_path):
    process = start(tiny_corpus, tmp_path, precision="fp16")
    lines = process.communicate(timeout=SECONDS)[1].splitlines()
    assert process.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: training.precision: 'fp16' needs a GPU")
    assert not tmp_path.exists()  # nor would it, had one process refused


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    for name, value in {"LOCAL_WORLD_SIZE": "4096", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    cfg = SimpleNamespace(common=SimpleNamespace(cpu=False), distributed_training=SimpleNamespace())
    with pytest.raises(UserError, match=r"training\.gpus: 4096 requested, and this job can use \d+ of \S+; set fewer"):
        connect(cfg, 4096)


def test_a_single_process_communicates_with_no_other():
    alone = Ranks(1, 0, torch.device("cpu"))
    assert (alone.largest(3), alone.total(4), alone.first) == (3, 4, True)
    alone.disconnect()


def test_an_update_whose_last_batch_is_missing_counts_the_others(monkeypatch):
    given = []
    monkeypatch.setattr(
        "kd.trainer.FairseqTrainer.train_step", lambda trainer, samples, raise_oom: given.append(samples)
    )
    trainer = Trainer.__new__(Trainer)
    for samples in ([{"id": 1}, {"id": 2}], [{"id": 1}, {}], [{}, {}]):
        trainer.train_step(samples)
    assert given == [[{"id": 1}, {"id": 2}], [{"id": 1}], [{}]]
