"""Configurations as Snakemake puts them together: the default one, with overlays merged over it."""

from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from ekd_nmt.config.experiment import Experiment

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.name != "datasets.yaml")
SYSTEMS = [
    "student",
    "junior_teacher",
    "senior_teacher",
    "junior_student",
    "senior_student",
    "master_student",
    "takd_assistant",
    "takd_student",
    "senior_student_matched",
]


def merged(*overlays: dict[str, Any] | Path) -> dict[str, Any]:
    """config/config.yaml with overlays, given as YAML files or as what these hold."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    for overlay in overlays:
        if isinstance(overlay, Path):
            overlay = yaml.safe_load(overlay.read_text(encoding="utf-8"))
        update_config(config, overlay)
    return config


def experiment(overlay: str = "{}") -> Experiment:
    """The default experiment with an overlay written as YAML."""
    return Experiment(merged(yaml.safe_load(overlay)))
