"""Calls of the steps that can be resumed, each on a corpus and with models of kilobytes."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import yaml

import cache_teacher
import fetch
import tiny_cache
import train
import translate
from ekd_nmt.config.manifest import DataFile
from tiny_training import command, options


@dataclass
class Step:
    """A step's ``main``, its command line, and the output that it puts in place last."""

    main: Callable[[], None]
    arguments: list[str]
    output: Path

    def run(self) -> None:
        """Call it in this process, whose stop-signal handlers it changes."""
        with mock.patch.object(sys, "argv", self.arguments), mock.patch("kd.cache_writer.SHARD_BYTES", 700):
            self.main()


def translation(model: Path, data: Path, output: Path) -> Step:
    """The translation of the training set by ``model``."""
    texts = data.parent / "bpe"
    flags = {"model": model, "data": data, "split": "train", "target-lang": "en", "output": output}
    flags |= {"source": texts / "train.de", "reference": texts / "train.en", "max-tokens": 12, "beam": 2}
    named = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    return Step(translate.main, ["translate.py", *named, "--cpu"], output)


def caching(model: Path, data: Path, output: Path) -> Step:
    """The cache of ``model``, with its summary beside it."""
    return Step(cache_teacher.main, tiny_cache.command(model, data, output), output)


def training(model: Path, data: Path, output: Path) -> Step:
    """An epoch of the system ``plain``; needs no ``model``."""
    return Step(train.main, command(data, output.parent, options("plain", max_epoch=1)), output.parent / "model.pt")


def fetching(file: DataFile, output: Path, *flags: object) -> Step:
    """The download of one file of a data set named ``set``."""
    content = {"licence": "CC0", "citation": "Nobody (2020)", "home": "h"}
    manifest = output.parent / "manifest.yaml"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(yaml.safe_dump({"set": content | {"files": [file.model_dump(exclude_none=True)]}}))
    named = {"manifest": manifest, "dataset": "set", "file": file.name, "output": output}
    arguments = [str(part) for name, value in named.items() for part in (f"--{name}", value)]
    return Step(fetch.main, ["fetch.py", *arguments, *map(str, flags)], output)
