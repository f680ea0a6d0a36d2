"""The benchmarks run end to end and print the tables of docs/benchmarks.md."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from project_copy import ROOT

pytestmark = pytest.mark.slow

DISTIL, GPU = ROOT / "benchmarks/distil.py", ROOT / "benchmarks/gpu.sh"
SMALL = (
    "--sentences 60 --source-symbols 64 --target-symbols 48 --embed-dim 8 --teachers 16 24 --ffn-dim 16 --heads 2 "
    "--layers 1 --max-tokens 256 --rounds 3 --top-k 8"
)
# stands in for the Python of an environment with a GPU; writes a table, or fails at bf16
STAND_IN = """#!/usr/bin/env bash
if [ "$1" = -c ]; then echo "gpu 9.9"; exit; fi
echo "$*" >>"$CALLS"
case "$*" in *bf16*) echo "a long story" >&2; echo "error: no memory left" >&2; exit 2 ;; esac
printf 'the machine\\n\\nthe sizes\\n\\nthe table\\n' >"${@: -1}"
"""


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


def distil(*flags: object) -> subprocess.CompletedProcess:
    command = [sys.executable, DISTIL, *SMALL.split(), *flags]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)


def table_rows(text: str) -> dict[str, list[float]]:
    """The numbers of each row of all tables, by its first cell."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {
        name: [float(number.replace(",", "")) for number in numbers]
        for name, *numbers in cells
        if numbers and all(number.replace(",", "").replace(".", "").isdigit() for number in numbers)
    }


def test_training_steps(tmp_path):
    result = distil("--folder", tmp_path / "material", "--markdown", tmp_path / "table.md")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "table.md").read_text()
    assert text.strip() == result.stdout.strip()
    rows = table_rows(text)
    variants = ["fairseq", "plain", *(f"{mode} {dim}" for mode in ("usual", "online", "cached") for dim in (16, 24))]
    ratios = [f"cached {dim} / {mode} {dim}" for mode in ("online", "usual") for dim in (24, 16)] + ["plain / fairseq"]
    assert [name for name in rows if name in {*variants, *ratios}] == variants + ratios
    assert rows["plain"][1:] == [1, 1, 1]
    for name in variants[2:] + ratios:
        median, least, most = rows[name][-3:]
        assert 0 < least <= median <= most
        assert rows[name][0] > 0
    tokens, seconds, speed, _ = rows["24"]  # of the cache
    assert tokens > 60
    assert speed == pytest.approx(tokens / seconds, rel=0.2)
    for word in ("Random text and untrained weights", "**Freed memory**", "**Start-up**", "**Validation**", "load"):
        assert word in text

    # files are reused, for the same sizes only
    again = distil("--folder", tmp_path / "material", "--parts", "caching")
    assert [table_rows(again.stdout)[dim] for dim in ("16", "24")] == [rows[dim] for dim in ("16", "24")]
    other = distil("--folder", tmp_path / "material", "--parts", "caching", "--layers", 2)
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "has data of other sizes; name another folder" in other.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["material", "table.md"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rounds", "0"], "--rounds: needs a number above 0, got '0'"),
        (["--top-k", "all"], "--top-k: needs 'full' or a number of tokens above 0, got 'all'"),
        (["--precision", "bf16"], "--precision: half precision is for GPUs"),
        (["--device", "cuda", "--parts", "memory"], "--parts memory: is measured on the CPU only"),
        (["--device", "cuda"], "--device cuda: torch finds no GPU"),
        (["--target-symbols", "50"], "--target-symbols 50: needs a multiple of 8"),
        (["--embed-dim", "9"], "embed_dim 9 cannot be split over 2 heads"),
        (["--folder", __file__], "is a file; name a folder"),
    ],
)
def test_bad_input_is_one_line(flags, message, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = distil(*flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def gpu(report: Path, **environment: object) -> subprocess.CompletedProcess:
    values = os.environ | {name: str(value) for name, value in environment.items()}
    return subprocess.run(["bash", GPU, report], capture_output=True, text=True, env=values, timeout=120)


def test_gpu_script_without_a_gpu(tmp_path):
    result = gpu(tmp_path / "report.md", PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 2
    assert result.stderr.startswith("error: no GPU: torch ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "report.md").exists()


@pytest.fixture
def stand_in(tmp_path) -> Path:
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    return python


def test_gpu_script_continues_after_a_failure(tmp_path, stand_in):
    result = gpu(tmp_path / "report.md", PYTHON=stand_in, CALLS=tmp_path / "calls")
    report = (tmp_path / "report.md").read_text()
    assert result.returncode == 1
    assert report.strip() == result.stdout.strip()
    assert report.count("the table") == 6
    assert report.count("the machine") == report.count("the sizes") == 1
    assert report.count("Failed with status 2: error: no memory left") == 2
    assert "2 measurements failed" in report
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 8
    assert all("--device cuda" in call for call in calls)
    assert {call.split("--precision ")[1].split(" --markdown")[0] for call in calls[2:]} == {
        f"{precision} --max-tokens {size}" for precision in ("fp32", "bf16", "fp16") for size in (4096, 16384)
    }


def test_gpu_script_reports_skipped_measurements(tmp_path, stand_in):
    result = gpu(tmp_path / "report.md", PYTHON=stand_in, CALLS=tmp_path / "calls", BUDGET=0)
    assert result.returncode == 0
    assert (tmp_path / "report.md").read_text().count("of 0 seconds were over") == 8
    assert not (tmp_path / "calls").exists()
