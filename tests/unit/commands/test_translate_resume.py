"""translate.py stopped and killed in the middle of its work."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import handlers
import translate
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from ekd_nmt.common.signals import EXIT_INTERRUPTED, STOP_SIGNALS
from ekd_nmt.resume import lease
from kd import translation_chunks

# training goes through fairseq, whose warnings are not ours
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SENTENCES, CHUNK = 32, 4  # of the training set of tiny_training; of a chunk here
# a process of its own, whose batches are slow enough to be killed in the middle of them
SLOWLY = f"""
import sys, time
sys.path.insert(0, {str(Path(translate.__file__).parent)!r})
from ekd_nmt.common import command
from kd import translation_chunks
import translate
translation_chunks.SENTENCES = {CHUNK}
from kd.beam_search import Search
at_once = Search._search
Search._search = lambda self, batch: (time.sleep(0.1), at_once(self, batch))[1]
command.run(translate.main)
"""


class Job:
    """A translation of the training set of :mod:`tiny_training` in chunks of a few sentences."""

    def __init__(self, model: Path, data: Path, output: Path):
        self.output, self.folder = output, output.parent / "progress"
        texts = data.parent / "bpe"
        flags = {"model": model, "data": data, "split": "train", "target-lang": "en", "output": output}
        flags |= {"source": texts / "train.de", "reference": texts / "train.en", "max-tokens": 12, "beam": 2}
        self.flags = [text for name, value in flags.items() for text in (f"--{name}", str(value))] + ["--cpu"]

    def run(self, *flags: str) -> bytes:
        """Translate in this process, which has paid for fairseq's imports."""
        with mock.patch.object(sys, "argv", ["translate.py", *self.flags, *flags]), handlers.given_back():
            translate.main()
        return self.output.read_bytes()

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(f"*/{pattern}"))

    def finished(self) -> list[Path]:
        return self.files("chunks/[0-9]*.jsonl")


@pytest.fixture
def job(plain, tiny_corpus, tmp_path, monkeypatch, signal_handlers):
    monkeypatch.setattr(translation_chunks, "SENTENCES", CHUNK)
    return Job(plain, tiny_corpus, tmp_path / "here" / "train.hyp.jsonl")


@pytest.fixture(scope="module")
def uninterrupted(plain, tiny_corpus, tmp_path_factory):
    content = Job(plain, tiny_corpus, tmp_path_factory.mktemp("uninterrupted") / "out.jsonl").run()
    assert content.count(b"\n") == SENTENCES
    return content


@pytest.fixture
def searched(monkeypatch):
    """The batches that are searched; ``events`` maps a number of batches to an action after them."""
    from kd.beam_search import Search

    at_once, batches = Search._search, []
    recorder = SimpleNamespace(batches=batches, events={})

    def search(self, batch):
        batches.append(batch.tolist())
        found = at_once(self, batch)
        recorder.events.pop(len(batches), lambda: None)()
        return found

    monkeypatch.setattr(Search, "_search", search)
    return recorder


def stop(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def interrupt(job: Job, searched, after: int, number: int = signal.SIGTERM) -> None:
    """Send a signal while the batch of this number is translated."""
    searched.events[len(searched.batches) + after] = lambda: stop(number)
    with pytest.raises(SystemExit) as left:
        job.run()
    assert left.value.code == EXIT_INTERRUPTED


def assert_nothing_left(job: Job) -> None:
    assert [path.name for path in job.output.parent.iterdir()] == [job.output.name]


def test_a_killed_translation_resumes(job, uninterrupted, searched, capsys):
    with subprocess.Popen([sys.executable, "-c", SLOWLY, *job.flags], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(job.finished()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = len(job.finished())
    assert 3 <= done < 8
    assert not job.output.exists()
    assert job.run() == uninterrupted
    assert sum(map(len, searched.batches)) <= SENTENCES - CHUNK * done
    log = capsys.readouterr().err
    assert "the previous translate, process" in log
    assert re.search(rf" resuming: {done} of \d chunks are there\n", log)
    assert re.search(r"\ntranslated \d+ sentences in .* sentences/s; \d+ are of an earlier run\n$", log)
    assert_nothing_left(job)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_stops_after_the_batch(job, uninterrupted, searched, number, capsys):
    interrupt(job, searched, 7, number)
    assert len(searched.batches) == 7
    words = f"{number.name}: progress is saved; run the same command again to resume (exit status 75)"
    assert capsys.readouterr().err[len("12:00:00 ") :] == f"{words}\n"
    assert not job.output.exists()
    assert len(job.finished()) >= 2
    assert job.run() == uninterrupted
    assert_nothing_left(job)


def test_interrupted_again_and_again(job, uninterrupted, searched):
    for _ in range(len(translate_plan(job))):
        interrupt(job, searched, 3)  # a chunk has two batches or more, so each time one is finished at most
        if len(job.finished()) == len(translate_plan(job)):
            break
    assert job.run() == uninterrupted
    assert_nothing_left(job)


def translate_plan(job: Job) -> list[list[np.ndarray]]:
    from kd.beam_search import Translator

    args = translate.parser().parse_args(job.flags)
    return translation_chunks.plan(
        Translator(args.model, args.data, "en", cpu=True).batches(args.split, args.max_tokens)
    )


def test_a_signal_during_the_last_batch_loses_nothing(job, uninterrupted, searched):
    interrupt(job, searched, sum(map(len, translate_plan(job))))
    searched.batches.clear()
    assert job.run() == uninterrupted
    assert searched.batches == []


def test_the_order_is_always_the_same(job):
    np.random.seed(1)
    first = translate_plan(job)
    np.random.seed(2)
    second = translate_plan(job)
    assert [[batch.tolist() for batch in chunk] for chunk in first] == [
        [batch.tolist() for batch in chunk] for chunk in second
    ]
    assert all(sum(map(len, chunk)) >= CHUNK for chunk in first[:-1])
    assert sorted(index for chunk in first for batch in chunk for index in batch) == list(range(SENTENCES))


def other_number(content: bytes) -> bytes:
    return re.sub(rb'"score": -\d', b'"score": -9', content, count=1)


def first_line_lost(content: bytes) -> bytes:
    return content.split(b"\n", 1)[1]


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[:-10], lambda content: b"\xff" + content, other_number,
     first_line_lost],
    ids=["empty", "cut", "not UTF-8", "another number", "first line lost"],
)  # fmt: skip
def test_a_damaged_chunk_is_translated_again(job, uninterrupted, searched, damage, capsys):
    interrupt(job, searched, 9)
    path = job.finished()[1]
    path.write_bytes(damage(path.read_bytes()))
    whole = len(job.finished()) - 1
    assert job.run() == uninterrupted
    log = capsys.readouterr().err
    assert f"{path}: is damaged, so its sentences are translated again" in log
    assert f"resuming: {whole} of" in log


def test_the_chunk_of_another_place_is_translated_again(job, uninterrupted, searched, capsys):
    interrupt(job, searched, 9)
    first, second = job.finished()[:2]
    second.write_bytes(first.read_bytes())
    assert job.run() == uninterrupted
    assert f"{second}: is damaged" in capsys.readouterr().err


def test_other_settings_start_from_scratch(job, searched, capsys):
    interrupt(job, searched, 9)
    kept = job.finished()
    capsys.readouterr()
    job.run("--beam", "1")
    assert "resuming" not in capsys.readouterr().err
    assert job.finished() == kept
    job.run()
    assert "resuming" in capsys.readouterr().err
    assert_nothing_left(job)


def test_the_job_is_recorded(job, searched, plain, tiny_corpus):
    interrupt(job, searched, 5)
    (file,) = job.files("job.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert (content["command"], content["revision"]) == ("translate", translate.REVISION)
    assert content["options"] == {
        "split": "train", "target_lang": "en", "beam": 2, "lenpen": 1.0, "max_len_a": 1.2, "max_len_b": 10,
        "max_tokens": 12, "cuda": False, "chunk_sentences": CHUNK,
    }  # fmt: skip
    texts = {"train.de", "train.en"}
    binarised = {f"train.de-en.{language}.{kind}" for language in ("de", "en") for kind in ("bin", "idx")}
    names = {Path(path).name for path in content["inputs"]}
    assert names == {"model.pt", "dict.de.txt", "dict.en.txt"} | texts | binarised
    assert content["inputs"][str(plain)] == sha256(plain)


@pytest.mark.parametrize("checks", [1, 9])
def test_what_another_process_took_over_is_not_written(job, monkeypatch, checks):
    calls = iter(range(1, 100))

    def check(self):
        if next(calls) >= checks:
            raise UserError("another has taken over")

    monkeypatch.setattr(lease.Lease, "check", check)
    with pytest.raises(UserError, match="taken over"):
        job.run()
    assert len(job.finished()) == min(checks - 1, len(translate_plan(job)))
    assert not job.output.exists()
