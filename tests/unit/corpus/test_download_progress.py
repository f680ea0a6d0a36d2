"""A bar on a terminal, lines in the log without one."""

import contextlib
import os
import termios
import time

import pytest

from ekd_nmt.corpus import download_progress
from ekd_nmt.corpus.download_progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test advances."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def pipe():
    """The two ends of a pipe, which is not a terminal."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def terminal():
    """The end that a user reads and the end that programs write to."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    os.set_blocking(ours, False)
    yield ours, theirs
    for end in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(end)


@pytest.mark.parametrize(
    ("received", "total", "lines"),
    [
        (0, 80_000_000, ["a.tgz: 50 %, 40.0 of 80.0 MB, 1.0 MB/s", "a.tgz: 75 %, 60.0 of 80.0 MB, 0.8 MB/s"]),
        (20_000_000, 80_000_000, ["a.tgz: 75 %, 60.0 of 80.0 MB, 1.0 MB/s", "a.tgz: 100 %, 80.0 of 80.0 MB, 0.8 MB/s"]),
        (0, None, ["a.tgz: 40.0 MB, 1.0 MB/s", "a.tgz: 60.0 MB, 0.8 MB/s"]),
    ],
)
def test_a_line_every_half_minute_without_a_terminal(clock, pipe, capsys, received, total, lines):
    with Progress("a.tgz", received, total, pipe[1]) as shown:
        for seconds, count in ((20, 30_000_000), (20, 10_000_000), (5, 10_000_000), (30, 10_000_000), (1, 0)):
            clock[0] += seconds
            shown.add(count)
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize("descriptor", [-1, 10_000])
def test_closed_descriptor_is_not_a_terminal(clock, capsys, descriptor):
    with Progress("a.tgz", 0, 10, descriptor) as shown:
        clock[0] += download_progress.LOG_SECONDS
        shown.add(10)
    assert capsys.readouterr().err == "a.tgz: 100 %, 0.0 of 0.0 MB, 0.0 MB/s\n"


def test_quick_download_prints_nothing(pipe, capsys):
    with Progress("a.tgz", 0, 10, pipe[1]) as shown:
        shown.add(10)
    assert capsys.readouterr().err == ""


def test_bar_on_a_terminal_is_erased_at_the_end(terminal, capsys):
    ours, theirs = terminal
    with Progress("a.tgz", 25_000_000, 100_000_000, theirs) as shown:
        assert b"a.tgz:  25%" in os.read(ours, 10_000)
        time.sleep(0.15)  # the bar is drawn ten times a second at most
        shown.add(25_000_000)
        assert b"a.tgz:  50%" in os.read(ours, 10_000)
    assert os.read(ours, 10_000).endswith(b" \r")
    os.fstat(theirs)  # still open
    assert capsys.readouterr().err == ""


def test_closed_terminal_does_not_end_the_download(terminal, capsys, monkeypatch):
    monkeypatch.setattr(download_progress, "LOG_SECONDS", 0.0)
    ours, theirs = terminal
    with Progress("a.tgz", 0, 10, theirs) as shown:
        os.close(ours)
        time.sleep(0.15)
        shown.add(2)
        shown.add(8)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["a.tgz: 20 %", "a.tgz: 100 %"]
