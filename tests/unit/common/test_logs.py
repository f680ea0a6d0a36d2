"""What a failed run prints from the logs of its steps."""

import os

import pytest

from ekd_nmt.common.logs import error_lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("epoch 1\nerror: no room\n", ["error: no room  [LOG]"]),
        ("error: no room\nerror: no room\n", ["error: no room  [LOG]"]),
        ("SIGTERM: run again (exit status 75)\n", ["SIGTERM: run again (exit status 75)  [LOG]"]),
        (
            "Traceback:\n  line\nValueError: 3\n",
            ["last lines of LOG:", "    Traceback:", "      line", "    ValueError: 3"],
        ),
        ("".join(f"{n}\n" for n in range(30)), ["last lines of LOG:", *(f"    {n}" for n in range(20, 30))]),
        ("", ["LOG is empty"]),
    ],
    ids=["error", "error of two ranks", "interrupted", "crash", "killed", "silent"],
)
def test_lines_of_a_failed_step(tmp_path, text, lines):
    log = tmp_path / "step.log"
    log.write_text(text)
    assert error_lines([log, log], since=0) == [line.replace("LOG", str(log)) for line in lines]


def test_old_and_missing_logs_are_skipped(tmp_path):
    (tmp_path / "old.log").write_text("error: yesterday\n")
    os.utime(tmp_path / "old.log", (1000, 1000))
    assert error_lines([tmp_path / "old.log", tmp_path / "none.log"], since=2000) == []
