"""translate.py stopped and killed in the middle of its work."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import handlers
import tiny_steps
import translate
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from ekd_nmt.common.signals import EXIT_INTERRUPTED, STOP_SIGNALS
from ekd_nmt.resume import lease
from kd import translation_chunks
from left_behind import wait_for

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
        self.step, self.output = tiny_steps.translation(model, data, output), output

    def run(self) -> bytes:
        """Translate in this process, which has paid for fairseq's imports."""
        with handlers.given_back():
            self.step.run()
        return self.output.read_bytes()

    def finished(self) -> list[Path]:
        return sorted(self.output.parent.glob("progress/*/chunks/[0-9]*.jsonl"))


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


def interrupt(job: Job, searched, after: int, number: int = signal.SIGTERM) -> None:
    """Send a signal while the batch of this number is translated."""
    searched.events[len(searched.batches) + after] = lambda: os.kill(os.getpid(), number)
    with pytest.raises(SystemExit) as left:
        job.run()
    assert left.value.code == EXIT_INTERRUPTED


def test_a_killed_translation_resumes(job, uninterrupted, searched, capsys):
    call = [sys.executable, "-c", SLOWLY, *job.step.arguments[1:]]
    with subprocess.Popen(call, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: len(job.finished()) >= 3)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = len(job.finished())
    assert done < 8
    assert not job.output.exists()
    assert job.run() == uninterrupted
    assert sum(map(len, searched.batches)) <= SENTENCES - CHUNK * done
    log = capsys.readouterr().err
    assert "the previous translate, process" in log
    assert re.search(rf" resuming: {done} of \d chunks are there\n", log)
    assert re.search(r"\ntranslated \d+ sentences in .* sentences/s; \d+ are of an earlier run\n$", log)
    assert list(job.output.parent.iterdir()) == [job.output], "unfinished work is left"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_stops_after_the_batch(job, uninterrupted, searched, number, capsys):
    for stops in (1, 2):
        interrupt(job, searched, 7, number)
        assert len(searched.batches) == 7 * stops
        line = f"{number.name}: progress is saved; run the same command again to resume (exit status 75)\n"
        assert capsys.readouterr().err.endswith(f" {line}")
        assert not job.output.exists()
        assert len(job.finished()) >= 2 * stops
    assert job.run() == uninterrupted
    assert list(job.output.parent.iterdir()) == [job.output], "unfinished work is left"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-10],
        lambda content: b"\xff" + content,
        lambda content: re.sub(rb'"score": -\d', b'"score": -9', content, count=1),
        lambda content: content.split(b"\n", 1)[1],
        None,
    ],
    ids=["empty", "cut", "not UTF-8", "another number", "first line lost", "another chunk"],
)
def test_a_damaged_chunk_is_translated_again(job, uninterrupted, searched, damage, capsys):
    interrupt(job, searched, 9)
    first, path = job.finished()[:2]
    path.write_bytes(first.read_bytes() if damage is None else damage(path.read_bytes()))
    whole = len(job.finished()) - 1
    assert job.run() == uninterrupted
    log = capsys.readouterr().err
    assert f"{path}: is damaged, so its sentences are translated again" in log
    assert f"resuming: {whole} of" in log


def test_the_job_is_recorded(job, searched, plain):
    interrupt(job, searched, 5)
    (file,) = job.output.parent.glob("progress/*/job.json")
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


@pytest.mark.parametrize("checks", [1, 5])
def test_what_another_process_took_over_is_not_written(job, monkeypatch, checks):
    calls = iter(range(1, 100))

    def check(self):
        if next(calls) >= checks:
            raise UserError("another has taken over")

    monkeypatch.setattr(lease.Lease, "check", check)
    with pytest.raises(UserError, match="taken over"):
        job.run()
    assert len(job.finished()) == checks - 1
    assert not job.output.exists()
