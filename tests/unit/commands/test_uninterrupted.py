"""Once the result of a step is in place, stop signals are ignored and the step ends with status 0.

Snakemake deletes the outputs of a step that ends otherwise, and the progress is gone by then.
"""

import contextlib
import os
import signal
from pathlib import Path

import pytest

import fetch
import tiny_steps
from ekd_nmt.common.signals import EXIT_INTERRUPTED, STOP_SIGNALS
from ekd_nmt.config import manifest
from failing_server import CONTENT, entry, whole

pytestmark = pytest.mark.filterwarnings("ignore")  # models are built by fairseq, whose warnings are not ours


@pytest.fixture
def when_placed(monkeypatch):
    """Calls a function when something has been renamed to a path."""

    def prepare(path: Path, call) -> None:
        def renaming(rename):
            def renamed(source, target, *arguments, **options):
                rename(source, target, *arguments, **options)
                if Path(target) == path:
                    call()

            return renamed

        for name in ("replace", "rename"):
            monkeypatch.setattr(os, name, renaming(getattr(os, name)))

    return prepare


def send_all() -> None:
    for number in STOP_SIGNALS:
        os.kill(os.getpid(), number)


def assert_finishes(step: tiny_steps.Step) -> None:
    """It ends as it does without signals, and ignores them to the end of its process."""
    step.run()
    assert step.output.exists()
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == [signal.SIG_IGN] * len(STOP_SIGNALS)


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_steps.translation, tiny_steps.caching, tiny_steps.training])
def test_signals_when_the_result_is_in_place(make, plain, tiny_corpus, tmp_path, when_placed):
    step = make(plain, tiny_corpus, tmp_path / "run" / "output")
    sent = []
    when_placed(step.output, lambda: (sent.append(1), send_all()))
    assert_finishes(step)
    assert sent == [1]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("sums", [{}, {"sha256": None}], ids=["checksum", "no checksum"])
def test_signals_when_a_download_or_a_copy_is_in_place(
    server, tmp_path, when_placed, monkeypatch, sums, mirror, capsys
):
    server.answers = [] if mirror else [whole]
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    (tmp_path / "mirror" / "set" / "file.gz").write_bytes(CONTENT)
    flags = ["--mirror", tmp_path / "mirror"] if mirror else []
    step = tiny_steps.fetching(entry(server.url, **sums), tmp_path / "file.gz", *flags)
    when_placed(step.output, send_all)
    original, read = manifest.sha256, []
    monkeypatch.setattr(manifest, "sha256", lambda path: (read.append(path.name), original(path))[1])
    assert_finishes(step)
    assert step.output.read_bytes() == CONTENT
    if not mirror:
        assert read == ["file.gz.part"], "the checksum is not computed once, before the file is in place"
        assert f"{step.output}: from {server.url}, " in capsys.readouterr().err


def test_signals_when_another_process_has_put_the_download_in_place(server, tmp_path, monkeypatch):
    step = tiny_steps.fetching(entry(server.url), tmp_path / "file.gz")
    verdict = manifest.verdict

    @contextlib.contextmanager
    def waiting(folder, command):
        step.output.write_bytes(CONTENT)
        yield

    monkeypatch.setattr(fetch, "hold", waiting)
    monkeypatch.setattr(fetch, "verdict", lambda *arguments: (send_all(), verdict(*arguments))[1])
    assert_finishes(step)
    assert server.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize(
    ("make", "computing", "last"),  # the last check of the lease is that of publishing
    [(tiny_steps.translation, "kd.beam_search.Search._search", 2), (tiny_steps.caching, "kd.teacher.Teacher.teach", 0)],
    ids=["translation", "caching"],
)
def test_a_signal_just_before_the_result_would_be_in_place(
    make, computing, last, plain, tiny_corpus, tmp_path, when_placed, number, monkeypatch
):
    step = make(plain, tiny_corpus, tmp_path / "run" / "output")
    checks = []

    def check(self):
        checks.append(1)
        if len(checks) == last:
            os.kill(os.getpid(), number)

    monkeypatch.setattr("ekd_nmt.resume.lease.Lease.check", check)
    when_placed(step.output.with_suffix(".json"), lambda: os.kill(os.getpid(), number))  # the summary of a cache
    with pytest.raises(SystemExit) as left:
        step.run()
    assert left.value.code == EXIT_INTERRUPTED
    assert not step.output.exists()
    monkeypatch.undo()
    monkeypatch.setattr(computing, None)
    assert_finishes(step)
