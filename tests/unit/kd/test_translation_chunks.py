"""The chunks of a translation: which batches they hold, what a file of one keeps, the log."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from kd import translation_chunks
from kd.beam_search import Translation


def batches(*sizes: int) -> list[np.ndarray]:
    """Batches of these sizes, of the sentences from 0 on."""
    ends = np.cumsum(sizes)
    return [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def test_chunks_hold_whole_batches():
    whole = batches(900, 900, 900, 2500, 1, 1999, 3)
    cut = translation_chunks.plan(whole)
    assert [[len(batch) for batch in chunk] for chunk in cut] == [[900, 900, 900], [2500], [1, 1999], [3]]
    assert [index for chunk in cut for batch in chunk for index in batch] == list(range(7203))
    assert translation_chunks.plan([]) == []


def test_a_file_keeps_every_digit_and_sign(tmp_path):
    draw = np.random.default_rng(1)
    scores = [float(np.float32(score)) for score in draw.normal(size=5)] + [float("-inf"), -0.0]
    texts = ["zwölf", "", "a\u2028b\x85c\rd", '"\\', "&quot;", "x", "y"]
    kept = [Translation(text, score) for text, score in zip(texts, scores, strict=True)]
    checked = []
    work = SimpleNamespace(path=tmp_path, check_lease=lambda: checked.append(1))
    store = translation_chunks.Chunks(work, [batches(2), [np.array([9, 4, 5]), np.array([3, 2, 8, 7])]])
    assert store.read(1) is None
    store.write(1, kept)
    assert store.read(1) == kept
    assert [str(found.score) for found in store.read(1)] == [str(score) for score in scores]
    assert store.read(0) is None
    assert checked == [1]
    (tmp_path / "chunks" / ".000000.jsonl.x.tmp").touch()
    translation_chunks.Chunks(work, [])
    assert [path.name for path in (tmp_path / "chunks").iterdir()] == ["000001.jsonl"]


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(translation_chunks.time, "perf_counter", lambda: now.seconds)
    return now


def test_progress_is_logged_now_and_then(clock, capsys):
    sizes = np.array([1] * 1500 + [10] * 1500)
    left = batches(*[100] * 30)[10:]  # 5 x 100 short sentences and 15 x 100 long ones
    log = translation_chunks.ProgressLog(sizes, left)
    for batch in left:
        clock.seconds += 0.1 * int(sizes[batch].sum()) / 10  # 0.01 s a token: 1 s a short batch, 10 s a long one
        log.add(batch)
    lines = [line[len("12:00:00 ") :] for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == "1,800 of 3,000 sentences | 22.9 sentences/s | 120 s left"
    assert len(lines) == 4
    assert all(re.fullmatch(r"[\d,]+ of 3,000 sentences \| [\d.]+ sentences/s \| \d+ s left", line) for line in lines)
    assert log.total() == "translated 2000 sentences in 155.0 s, 12.9 sentences/s; 1000 are of an earlier run"


def test_short_work_logs_no_progress(clock, capsys):
    (batch,) = batches(40)
    log = translation_chunks.ProgressLog(np.ones(40, dtype=int), [batch])
    clock.seconds += 100
    log.add(batch)
    assert capsys.readouterr().err == ""
    assert log.total() == "translated 40 sentences in 100.0 s, 0.4 sentences/s"
