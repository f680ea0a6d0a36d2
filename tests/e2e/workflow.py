"""The real workflow in a copy of the project, and its report on the data."""

import csv
import os
import subprocess
import sys
from pathlib import Path

TIMEOUT = 1800  # seconds; what hangs is killed


def snakemake(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a copy of the project, without the caller's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EKD_", "SNAKEMAKE_"))}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)],
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"} | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def report(folder: Path) -> dict[tuple[str, ...], str]:
    """The report of a data folder: step, split, language and measure → value."""
    with (folder / "report.csv").open(encoding="utf-8", newline="") as handle:
        return {tuple(row.values())[:4]: row["value"] for row in csv.DictReader(handle)}
