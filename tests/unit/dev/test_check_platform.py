"""An unsupported Python or machine is reported in one line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import check_platform

SCRIPT = Path(check_platform.__file__)


@pytest.mark.parametrize(
    ("version", "system", "machine", "message"),
    [
        ((3, 11, 0), "Linux", "x86_64", ""),
        ((3, 12, 9), "Linux", "x86_64", ""),
        ((3, 10, 13), "Linux", "x86_64", "Python 3.10 is not supported: install Python 3.11 or 3.12"),
        ((3, 13, 0), "Linux", "x86_64", "Python 3.13"),
        ((2, 7, 18), "Linux", "x86_64", "Python 2.7"),
        ((3, 12, 1), "Darwin", "arm64", "Darwin on arm64 is not supported"),
        ((3, 12, 1), "Windows", "AMD64", "Windows on AMD64"),
        ((3, 12, 1), "Linux", "aarch64", "Linux on aarch64"),
    ],
)
def test_what_is_supported(version, system, machine, message):
    reason = check_platform.unsupported(version, system, machine)
    assert reason.startswith(message)
    assert bool(reason) == bool(message)
    assert "\n" not in reason


def test_command_fails_with_one_line():
    program = f"import runpy, sys; sys.version_info = (3, 9, 0); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: Python 3.9 is not supported")
    assert answer.stderr.count("\n") == 1


def test_syntax_is_old_enough_to_report_an_old_python():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))
