"""train.py when memory or disk run out: one line says so, nothing is lost, and the next attempt needs less memory."""

import json
import os
import re
import resource
import subprocess
import sys
from unittest import mock

import pytest

import tiny_training as tiny
import train
from ekd_nmt.common import command
from ekd_nmt.resume.work_folder import WorkFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("signal_handlers"),
]
OPTIONS = {"dropout": 0.0, "max_sentences": 8}


def attempt(capsys, corpus, output) -> tuple[int, list[str]]:
    """Train as the command line does; returns the exit status and the log."""
    capsys.readouterr()
    with mock.patch.object(sys, "argv", tiny.command(corpus, output, tiny.options(**OPTIONS))):
        try:
            command.run(train.main)
            status = 0
        except SystemExit as stop:
            status = stop.code
    return status, capsys.readouterr().err.splitlines()


@pytest.fixture
def small_memory():
    """Memory has room for batches of three sentences, in training and in validation."""
    from fairseq.tasks.translation import TranslationTask

    def limited(method):
        original = getattr(TranslationTask, method)

        def step(self, sample, *arguments, **options):
            if sample["nsentences"] > 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nAnd a long explanation")
            return original(self, sample, *arguments, **options)

        return mock.patch.object(TranslationTask, method, step)

    with limited("train_step"), limited("valid_step"):
        yield


def test_batches_are_halved_until_they_fit_and_updates_stay_the_same(capsys, tiny_corpus, tmp_path, request):
    assert attempt(capsys, tiny_corpus, tmp_path / "large")[0] == 0
    request.getfixturevalue("small_memory")
    for tokens in (4096, 2048):
        status, log = attempt(capsys, tiny_corpus, tmp_path / "small")
        assert status == 75
        assert re.fullmatch(
            r"\S+ update 1 does not fit into memory \(CUDA out of memory\. Tried to allocate 2\.00 GiB\.\): the next "
            rf"attempt resumes from the last checkpoint with batches of {tokens // 2} instead of {tokens} tokens, and "
            r"twice as many of them an update; run the same command again to resume \(exit status 75\)",
            log[-1],
        )
        assert not any("explanation" in line or "Traceback" in line for line in log), "fairseq's chatter is in the log"
    status, log = attempt(capsys, tiny_corpus, tmp_path / "small")
    assert status == 0
    words = "after running out of memory, each batch is split: max_tokens 4096 -> 1024, update_freq 1 -> 4; an update"
    assert any(words in line for line in log)
    summary = json.loads((tmp_path / "small/train.json").read_text())
    cause = "CUDA out of memory. Tried to allocate 2.00 GiB."
    assert summary["out_of_memory"] == [{"update": 0, "cause": cause}] * 2
    assert (summary["attempts"], summary["updates"]) == (3, 3 * tiny.UPDATES_AN_EPOCH)
    large, small = (tiny.history(tmp_path / name) for name in ("large", "small"))
    for one, other in zip(large, small, strict=True):
        assert one["updates"] == other["updates"]
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_a_kill_because_memory_ran_out_halves_the_batches(capsys, tiny_corpus, tmp_path):
    from kd.training_loop import TrainingLoop

    with mock.patch.object(TrainingLoop, "_update", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        attempt(capsys, tiny_corpus, tmp_path)
    (folder,) = (tmp_path / "progress").iterdir()
    (folder / "owner.json").write_text(json.dumps({"pid": 1, "host": "node", "job": "5"}))
    with mock.patch("ekd_nmt.resume.work_folder.killed_for_memory", return_value="it was killed") as asked:
        status, log = attempt(capsys, tiny_corpus, tmp_path)
    assert asked.call_args.args[0].job == "5"
    assert status == 0
    assert "process 1 on node in SLURM job 5, was killed" in log[0]
    assert any("max_tokens 4096 -> 2048, update_freq 1 -> 2" in line for line in log)
    assert json.loads((tmp_path / "train.json").read_text())["out_of_memory"] == [
        {"update": None, "cause": "it was killed"}
    ]


def test_no_room_for_checkpoints_is_reported_before_training(capsys, tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("kd.setup.shutil.disk_usage", lambda path: mock.Mock(free=1000))
    status, log = attempt(capsys, tiny_corpus, tmp_path)
    assert (status, len(log)) == (2, 1)
    assert re.match(
        r"error: \S+: the checkpoints of this training take \d+ kB more, 1 kB are free; make room there "
        r"\(make clean-stale removes obsolete files\), and run again",
        log[0],
    )
    assert not (tmp_path / "progress").exists()


def test_a_disk_that_fills_up_damages_no_checkpoint(tiny_corpus, tmp_path):
    """A limit on the size of files stands for the disk: the system refuses to write more in the same way."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    call = [sys.executable, *tiny.command(tiny_corpus, tmp_path, tiny.options(**OPTIONS))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(call, preexec_fn=limit, capture_output=True, text=True, env=environment)
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: \S+/checkpoint_new_\d+\.pt: File too large; make room or fix .* run again", lines[-1])
    (folder,) = (tmp_path / "progress").iterdir()
    assert not list(folder.glob("*checkpoint*")), "half a checkpoint is left"
    assert tiny.run_training(tiny_corpus, tmp_path, tiny.options(**OPTIONS)).exists()
    assert WorkFolder(folder).halvings == []
