"""The benchmarks run from end to end and print what docs/benchmarks.md shows."""

import subprocess
import sys
import zipfile

import pytest

from project_copy import ROOT

pytestmark = pytest.mark.slow


def test_data_steps(tmp_path):
    (tmp_path / "tatoeba").mkdir()
    with zipfile.ZipFile(tmp_path / "tatoeba/deu-eng.zip", "w") as archive:
        archive.writestr("deu.txt", "".join(f"This is number {n}.\tDas ist Nummer {n}.\n" for n in range(6000)))
    flags = ["--mirror", tmp_path, "--sizes", "6000", "--folder", tmp_path, "--markdown", tmp_path / "table.md"]
    command = [sys.executable, ROOT / "benchmarks/data.py", *flags]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "table.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| 6,000 |")]
    assert [int(row[2]) for row in rows] == [1, 2, 1, 2]
    assert len(rows[0]) == 14
    assert all(float(cell) > 0 for cell in rows[2][3:-1])  # memory
    assert "Two workers against one at 6,000 pairs" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.md", "tatoeba"]
