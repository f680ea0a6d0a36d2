"""Trainings of seconds for the tests of train.py: a corpus of twelve words, and systems whose options are resolved as
the workflow resolves them.
"""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

import handlers
import train
from binarize import SPLITS, binarize
from ekd_nmt.common.command import run
from ekd_nmt.config.experiment import Experiment

SCRIPT = Path(train.__file__)
UPDATES_AN_EPOCH = 4
WORDS = {
    "eins": "one", "zwei": "two", "drei": "th@@ ree", "vier": "four", "fünf": "f@@ ive", "sechs": "six",
    "sieben": "sev@@ en", "acht": "eight", "neun": "nine", "zehn": "ten", "elf": "el@@ even", "zwölf": "tw@@ elve",
}  # fmt: skip
SIZES = {"train": 8 * UPDATES_AN_EPOCH, "valid": 16, "test": 8}
MODELS = {
    "small": {"embed_dim": 8, "ffn_dim": 8, "heads": 2, "layers": 1},
    "large": {"embed_dim": 16, "ffn_dim": 16, "heads": 2, "layers": 1},
}
TRAINING = {
    "max_epoch": 3,
    "max_sentences": 8,
    "lr": 0.01,
    "warmup_updates": 4,
    "dropout": 0.1,
    "validation": {"beam": 1},
}
DISTILLATION = {"teacher_mode": "online"}  # spares each test of training the making of a cache
SYSTEMS = {
    "plain": {"model": "small"},
    "teacher": {"model": "large"},
    "pupil": {"model": "small", "teacher": "teacher"},
    "master": {"model": "small", "teacher": "teacher", "init": "pupil"},
}
TIMES = {"seconds", "wps"}


def options(system: str = "plain", **overrides) -> dict:
    """The resolved options of a system, some of them overridden as in its own entry of the configuration."""
    systems = SYSTEMS | {system: SYSTEMS[system] | overrides}
    table = {"baseline": "plain", "senior": "teacher"}
    config = {"experiment": "tiny", "models": MODELS, "training": TRAINING, "systems": systems, "table": table}
    config["distillation"] = DISTILLATION
    return Experiment(config).options(system)


def write_corpus(folder: Path, seed: int = 1, words: dict[str, str] = WORDS) -> Path:
    """Binarise random sentences and their translations word by word; the raw test set lies beside as test.{de,en}."""
    draw = random.Random(seed)
    (folder / "bpe").mkdir(parents=True)
    for split in SPLITS:
        sentences = [draw.choices(list(words), k=draw.randint(2, 5)) for _ in range(SIZES[split])]
        for language, spoken in (("de", dict(zip(words, words, strict=True))), ("en", words)):
            text = "".join(" ".join(spoken[word] for word in sentence) + "\n" for sentence in sentences)
            (folder / "bpe" / f"{split}.{language}").write_text(text, encoding="utf-8")
            if split == "test":
                (folder / f"test.{language}").write_text(text.replace("@@ ", ""), encoding="utf-8")
    binarize(folder / "bpe", ("de", "en"), folder / "bin")
    return folder / "bin"


def command(corpus: Path, output: Path, resolved: dict, seed: int = 1, **files: Path) -> list[str]:
    """The command line of train.py; ``files`` are ``teacher``, ``teacher_cache`` and ``init``."""
    flags = {"options": json.dumps(resolved), "data": corpus, "output": output, "seed": seed, **files}
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in flags.items()]
    return [str(SCRIPT), *(text for pair in pairs for text in pair), "--cpu"]


def run_training(corpus: Path, output: Path, resolved: dict, seed: int = 1, **files: Path) -> Path:
    """Train in this process, which has paid for fairseq's imports; returns the model file."""
    with mock.patch.object(sys, "argv", command(corpus, output, resolved, seed, **files)), handlers.given_back():
        train.main()
    return output / "model.pt"


def start_training(*arguments, python: tuple[str, ...] = (), **files) -> subprocess.Popen:
    """Train in a process of its own; its standard error is a pipe of text."""
    call = [sys.executable, *python, *command(*arguments, **files)]
    return subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def refuse(capsys, main: Callable[[], None], arguments: list[str], message: str) -> None:
    """A step called with these arguments prints one line, and exits with status 2."""
    capsys.readouterr()
    with mock.patch.object(sys, "argv", arguments), pytest.raises(SystemExit) as stop:
        run(main)
    lines = capsys.readouterr().err.splitlines()
    assert (stop.value.code, len(lines)) == (2, 1), lines
    assert re.match(f"error: .*{message}", lines[0]), lines


def history(run: Path) -> list[dict]:
    """The records of a finished training, times left out."""
    lines = (run / "training.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def progress_files(run: Path, name: str) -> list[Path]:
    """Files of that name in the folders of the run's checkpoints, one folder a set of options and inputs."""
    return sorted((run / "progress").glob(f"*/{name}"))
