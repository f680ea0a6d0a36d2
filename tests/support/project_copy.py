"""A copy of the workflow to run in, as a clone has it."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "rules", "config", "slurm", "envs", "workflow_scripts")


def copy_project(folder: Path) -> Path:
    """Copy what a clone has of the workflow, and nothing that was built or downloaded."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / part)
    return folder
