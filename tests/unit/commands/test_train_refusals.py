"""train.py: what it refuses, the message of a loss that is not finite, and that nothing else is on standard error."""

import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

import tiny_training as tiny
import train

# training goes through fairseq, whose warnings are not ours
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("signal_handlers")]
OWN_LINE = re.compile(r"\d\d:\d\d:\d\d ")


def refuse(capsys, message: str, output: Path, arguments: list[str]) -> None:
    """The command prints one line, exits with status 2 and makes no model."""
    tiny.refuse(capsys, train.main, arguments, message)
    assert not [path for path in output.rglob("*") if path.is_file()]


def test_missing_files_and_bad_options(tmp_path, capsys):
    for name in ("dict.de.txt", "dict.en.txt", "train.x", "valid.x"):
        (tmp_path / name).touch()
    output, none = tmp_path / "output", tmp_path / "none.pt"
    with mock.patch.dict(tiny.SYSTEMS, warm={"model": "small", "init": "plain"}):
        for message, system, files in (
            (r"none\.pt: the teacher model is missing; train it first", "pupil", {"teacher": none}),
            (r"none\.pt: the init model is missing; train it first", "warm", {"init": none}),
            ("--teacher: the options of 'pupil' and the command line disagree", "pupil", {}),
        ):
            refuse(capsys, message, output, tiny.command(tmp_path, output, tiny.options(system), **files))
    refuse(capsys, "no binarised corpus there", output, tiny.command(output, output, tiny.options()))
    refuse(capsys, "needs a JSON object with", output, tiny.command(tmp_path, output, []))
    arguments = [word.replace('{"', "{") for word in tiny.command(tmp_path, output, {"lr": 1})]
    refuse(capsys, "expected JSON or @FILE, got '{lr", output, arguments)


@pytest.mark.slow
def test_models_that_do_not_fit(tiny_corpus, plain, teacher, tmp_path, capsys):
    words = {f"{source}x": target for source, target in tiny.WORDS.items()}
    other, output = tiny.write_corpus(tmp_path / "other", words=words), tmp_path / "output"
    pupil, master = tiny.options("pupil"), tiny.options("master")
    refuse(capsys, "its source dictionary has", output, tiny.command(other, output, pupil, teacher=teacher))
    wrong = tiny.command(tiny_corpus, output, master, teacher=teacher, init=teacher)
    refuse(capsys, "can only start from a model of the same architecture", output, wrong)
    wrong = tiny.command(tiny_corpus, output, tiny.options(precision="fp16"))
    refuse(capsys, "training.precision: 'fp16' needs a GPU", output, wrong)


@pytest.mark.slow
def test_loss_that_is_not_finite(tiny_corpus, plain, teacher, tmp_path):
    import torch

    poisoned = torch.load(plain)
    poisoned["model"]["encoder.layers.0.fc1.weight"].fill_(float("nan"))
    torch.save(poisoned, tmp_path / "poisoned.pt")
    started = {
        0: tiny.start_training(
            tiny_corpus, tmp_path / "0", tiny.options("master"), teacher=teacher, init=tmp_path / "poisoned.pt"
        ),
        3: tiny.start_training(tiny_corpus, tmp_path / "3", tiny.options("plain", lr=1e30, warmup_updates=1)),
    }
    for update, process in started.items():
        lines = process.communicate(timeout=900)[1].splitlines()
        (error,) = [line for line in lines if not OWN_LINE.match(line)]
        assert process.returncode == 2
        assert re.match(rf"error: \w+: the loss is not finite at update {update} \(.*\); lower training\.lr", error)
        assert not list(tmp_path.glob(f"{update}/**/crash.pt"))
        assert not (tmp_path / f"{update}" / "model.pt").exists()


@pytest.mark.slow
def test_nothing_foreign_on_standard_error(tiny_corpus, teacher, tmp_path):
    resolved = tiny.options("pupil", max_epoch=1)
    python = ("-W", "error")
    process = tiny.start_training(tiny_corpus, tmp_path / "run", resolved, teacher=teacher, python=python)
    lines = process.communicate(timeout=900)[1].splitlines()
    assert process.returncode == 0, lines
    assert lines
    assert all(OWN_LINE.match(line) for line in lines), lines

    flags = {"model": tmp_path / "run/model.pt", "data": tiny_corpus, "target-lang": "en", "output": tmp_path / "out"}
    flags |= {"source": tiny_corpus.parent / "test.de", "reference": tiny_corpus.parent / "test.en"}
    texts = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, *python, str(tiny.SCRIPT.with_name("translate.py")), *texts, "--cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"translated \d+ sentences in .* sentences/s\n", done.stderr)
