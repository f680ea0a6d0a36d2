"""train.py: the same run gives the same bytes, stopped or not; initial weights, best checkpoint, results."""

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

import tiny_training as tiny
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256

# training goes through fairseq, whose warnings are not ours
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("signal_handlers")]


def load(model: Path) -> dict:
    from fairseq import checkpoint_utils

    return checkpoint_utils.load_checkpoint_to_cpu(str(model))


def summary(model: Path) -> dict:
    return json.loads(model.with_name("train.json").read_text(encoding="utf-8"))


def train_until(update: int, *arguments, **files) -> None:
    """Train, and be asked to stop just after an update."""
    from kd.training_loop import TrainingLoop

    original = TrainingLoop._update

    def stopping(self, samples):
        original(self, samples)
        if self.updates == update:
            self.stop_signal = signal.SIGUSR1

    with mock.patch.object(TrainingLoop, "_update", stopping), pytest.raises(SystemExit) as stop:
        tiny.run_training(*arguments, **files)
    assert stop.value.code == 75


@pytest.mark.slow
def test_the_seed_decides_every_byte(tiny_corpus, plain, tmp_path):
    same = tiny.run_training(tiny_corpus, tmp_path / "same", tiny.options("plain"))
    other = tiny.run_training(tiny_corpus, tmp_path / "other", tiny.options("plain"), seed=2)
    assert same.read_bytes() == plain.read_bytes()
    assert other.read_bytes() != plain.read_bytes()
    assert (
        load(other)["model"]["encoder.layers.0.fc1.weight"] != load(plain)["model"]["encoder.layers.0.fc1.weight"]
    ).any()


@pytest.mark.slow
def test_results_of_a_run(plain):
    config = json.loads(plain.with_name("config.json").read_text(encoding="utf-8"))
    assert config == tiny.options("plain") | {"seed": 1}
    found = summary(plain)
    expected = {"system": "plain", "model": "small", "teacher": None, "init": None, "seed": 1, "epochs": 3}
    expected |= {"updates": 3 * tiny.UPDATES_AN_EPOCH, "device": "cpu"}
    expected |= {"teacher_mode": None, "inputs": {"teacher": None, "init": None, "cache": None}}
    assert {key: found[key] for key in expected} == expected
    assert found["tokens_per_second"] > 0
    # fairseq's sinusoidal positions are buffers of one number, and the output layer shares the target embedding
    weights = load(plain)["model"]
    counted = {key: value for key, value in weights.items() if not re.search("version|_float|output_proj", key)}
    assert found["parameters"] == sum(value.numel() for value in counted.values())
    assert [(record["event"], record["epoch"]) for record in tiny.history(plain.parent)] == [
        (event, epoch) for epoch in (1, 2, 3) for event in ("train", "valid")
    ]


@pytest.mark.slow
def test_sigterm_and_sigkill_lose_nothing(tiny_corpus, tmp_path):
    resolved = tiny.options("plain", max_epoch=24, validation={"interval": 12})
    folders = {number: tmp_path / number.name for number in (signal.SIGTERM, signal.SIGKILL)}
    processes = {number: tiny.start_training(tiny_corpus, folder, resolved) for number, folder in folders.items()}

    def stop(number: signal.Signals) -> str:
        process = processes[number]
        next(line for line in process.stderr if re.search("epoch +2 train", line))
        process.send_signal(number)
        return process.communicate(timeout=900)[1]

    with ThreadPoolExecutor() as pool:  # so that neither ends while the other one is waited for
        logs = dict(zip(processes, pool.map(stop, processes), strict=True))
    assert not any((folder / "model.pt").exists() for folder in folders.values())
    assert [process.returncode for process in processes.values()] == [75, -signal.SIGKILL]
    assert re.search(r"SIGTERM at update \d+: progress is saved; run the same command again", logs[signal.SIGTERM])

    uninterrupted = tiny.run_training(tiny_corpus, tmp_path / "uninterrupted", resolved)
    for folder in folders.values():
        again = tiny.run_training(tiny_corpus, folder, resolved)
        assert again.read_bytes() == uninterrupted.read_bytes()
        assert tiny.history(folder) == tiny.history(uninterrupted.parent)


@pytest.mark.slow
def test_a_stopped_run_resumes_and_other_options_start_from_scratch(tiny_corpus, plain, tmp_path, capsys):
    train_until(6, tiny_corpus, tmp_path, tiny.options("plain", lr=0.02))
    train_until(6, tiny_corpus, tmp_path, tiny.options("plain"))
    assert "resuming" not in capsys.readouterr().err
    assert len(tiny.progress_files(tmp_path, "checkpoint_last.pt")) == 2
    assert not (tmp_path / "model.pt").exists()
    again = tiny.run_training(tiny_corpus, tmp_path, tiny.options("plain"))
    assert "resuming from update 6" in capsys.readouterr().err
    assert again.read_bytes() == plain.read_bytes()
    assert tiny.history(tmp_path) == tiny.history(plain.parent)


@pytest.mark.slow
def test_init_and_teacher(tiny_corpus, plain, teacher, tmp_path):
    before = sha256(teacher), sha256(plain)
    master = tiny.run_training(tiny_corpus, tmp_path, tiny.options("master", max_epoch=1), teacher=teacher, init=plain)
    assert (sha256(teacher), sha256(plain)) == before
    found = summary(master)
    assert found["teacher_mode"] == "online"
    assert found["inputs"] == {"teacher": str(teacher), "init": str(plain), "cache": None}

    best = summary(plain)["best_epoch"]
    start, ended = (
        next(record for record in tiny.history(path) if (record["event"], record["epoch"]) == ("valid", epoch))
        for path, epoch in ((tmp_path, 0), (plain.parent, best))
    )
    # the loss includes the distillation loss, so only the likelihood is comparable
    assert start["nll_loss"] == ended["nll_loss"]
    assert start["updates"] == 0
    assert {"kd_loss"} <= start.keys() - ended.keys()

    shapes = [{name: value.shape for name, value in load(model)["model"].items()} for model in (master, plain)]
    assert shapes[0] == shapes[1]
    assert abs(master.stat().st_size - plain.stat().st_size) < teacher.stat().st_size - plain.stat().st_size
    assert not load(master)["last_optimizer_state"]
    (checkpoint,) = tiny.progress_files(tmp_path, "checkpoint_last.pt")
    assert load(checkpoint)["model"].keys() == shapes[1].keys()
    assert load(checkpoint)["criterion"] is None


@pytest.mark.slow
def test_init_is_not_loaded_again(tiny_corpus, plain, teacher, tmp_path):
    from kd.trainer import Trainer

    run = tiny_corpus, tmp_path / "stopped", tiny.options("master", max_epoch=1)
    train_until(2, *run, teacher=teacher, init=plain)
    with mock.patch.object(Trainer, "load_checkpoint", autospec=True, side_effect=Trainer.load_checkpoint) as loading:
        again = tiny.run_training(*run, teacher=teacher, init=plain)
    assert [Path(call.args[1]).name for call in loading.call_args_list] == ["checkpoint_last.pt"]
    whole = tiny.run_training(tiny_corpus, tmp_path / "whole", run[2], teacher=teacher, init=plain)
    assert again.read_bytes() == whole.read_bytes()
    assert tiny.history(again.parent) == tiny.history(whole.parent)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "best", "epochs"), [("bleu", 2, 4), ("loss", 1, 3)])
def test_the_metric_decides_best_epoch_and_patience(tiny_corpus, tmp_path, metric, best, epochs):
    from kd.training_loop import TrainingLoop

    scores, original = {1: 3.0, 2: 9.0, 3: 5.0, 4: 4.0}, TrainingLoop._record

    def scripted(self, event, epoch, stats):
        if event == "valid":
            stats.update(bleu=scores[epoch], loss=scores[epoch])
        original(self, event, epoch, stats)

    resolved = tiny.options(max_epoch=6, validation={"metric": metric, "patience": 2})
    with mock.patch.object(TrainingLoop, "_record", scripted):
        found = summary(tiny.run_training(tiny_corpus, tmp_path, resolved))
    assert (found["best_epoch"], found["epochs"], found[f"best_valid_{metric}"]) == (best, epochs, scores[best])


def test_a_validation_sentence_longer_than_a_batch_is_validated(tiny_corpus, tmp_path):
    tiny.run_training(tiny_corpus, tmp_path, tiny.options("plain", max_tokens=6, max_epoch=1))
    (record,) = (record for record in tiny.history(tmp_path) if record["event"] == "valid")
    assert record["loss"] > 0


def test_lengths_are_checked_before_training(tiny_corpus, tmp_path, monkeypatch):
    from kd.setup import _check_lengths, prepare

    driver = prepare(tiny.options("plain"), data=tiny_corpus, progress=tmp_path, seed=1, cpu=True)
    longest = int(driver.task.dataset("train").tgt_sizes.max())
    _check_lengths(driver, configured=4096, share=longest, ranks=2)
    message = f"training.gpus: 2 ranks leave {longest - 1} tokens a batch, and a training sentence has {longest}; raise"
    with pytest.raises(UserError, match=message):
        _check_lengths(driver, configured=4096, share=longest - 1, ranks=2)
    _check_lengths(driver, configured=longest - 1, share=longest - 1, ranks=1)  # one process leaves it out as well
    monkeypatch.setattr(driver.model, "max_positions", lambda: (1024, 4))
    with pytest.raises(UserError, match=r"validation set: sentence \d+ has \d+ tokens, and the model takes 4; lower"):
        _check_lengths(driver, configured=4096, share=4096, ranks=1)
