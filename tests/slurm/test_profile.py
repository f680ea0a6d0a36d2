"""The expressions of the SLURM profile, without a cluster."""

import re
import subprocess
from types import SimpleNamespace

import pytest
import yaml
import yte
from snakemake_executor_plugin_slurm.partitions import read_partition_file

from project_copy import ROOT

PROFILE = ROOT / "slurm/config.v9+.yaml"


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Evaluates the profile on a machine with these programs: name → its output."""

    def evaluate(**programs: str) -> dict:
        for name, text in programs.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\necho '{text}'\n")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        with PROFILE.open(encoding="utf-8") as handle:
            return yte.process_yaml(handle, require_use_yte=True)

    return evaluate


def test_every_key_is_explained():
    lines = PROFILE.read_text(encoding="utf-8").splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"[\w-]+:", line)]
    assert len(keys) > 10
    explained = [line for line in keys if lines[line - 1].startswith("#") or lines[line].startswith("__definitions__")]
    assert explained == keys


@pytest.mark.parametrize(
    ("config", "programs", "command"),
    [
        ("AccountingStorageType   = accounting_storage/slurmdbd", {"sacct": ""}, "sacct"),
        ("AccountingStorageType   = accounting_storage/none", {"sacct": ""}, "squeue"),
        ("AccountingStorageType   = (null)", {"sacct": ""}, "squeue"),
        # without an answer accounting is assumed
        ("", {}, "squeue"),
        ("", {"sacct": ""}, "sacct"),
    ],
)
def test_sacct_is_polled_with_accounting(evaluated, config, programs, command):
    assert evaluated(scontrol=config, **programs)["slurm-status-command"] == command


def test_accounting_is_assumed_when_slurm_hangs(evaluated, monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert evaluated(scontrol="", sacct="")["slurm-status-command"] == "sacct"


def test_nothing_is_polled_without_slurm(evaluated):
    assert evaluated()["slurm-status-command"] is None


@pytest.mark.parametrize(("gpus", "usable"), [(0, ["cpu", "gpu"]), (1, ["gpu"]), (16, ["gpu"])])
def test_the_partition_follows_from_the_gpus(gpus, usable):
    job = SimpleNamespace(threads=2, resources={"gpu": gpus, "mem_mb": 4000, "runtime": 600, "nodes": 1})
    partitions = read_partition_file(PROFILE.with_name(yaml.safe_load(PROFILE.read_text())["slurm-partition-config"]))
    fit = {partition.name: partition.score_job_fit(job) for partition in partitions}
    found = [name for name in fit if fit[name] is not None]
    assert sorted(found, key=fit.get, reverse=True) == usable
