"""The expressions of the SLURM profile, without a cluster."""

import re
import subprocess

import pytest
import yte

from project_copy import ROOT

PROFILE = ROOT / "slurm/config.v9+.yaml"


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Evaluates the profile on a machine with these programs: name → what each prints."""

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


def test_sacct_is_asked_where_there_are_accounts(evaluated):
    config = "AccountingStorageType   = accounting_storage/slurmdbd"
    assert evaluated(scontrol=config, sacct="")["slurm-status-command"] == "sacct"


@pytest.mark.parametrize("kept", ["accounting_storage/none", "(null)"])
def test_squeue_is_asked_where_there_are_none(evaluated, kept):
    config = f"AccountingStorageType   = {kept}"
    assert evaluated(scontrol=config, sacct="")["slurm-status-command"] == "squeue"


def test_without_an_answer_accounts_are_taken_to_be_kept(evaluated, monkeypatch):
    assert evaluated(scontrol="")["slurm-status-command"] == "squeue"
    assert evaluated(scontrol="", sacct="")["slurm-status-command"] == "sacct"

    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert evaluated(scontrol="", sacct="")["slurm-status-command"] == "sacct"


def test_nothing_is_asked_where_there_is_no_slurm(evaluated):
    assert evaluated()["slurm-status-command"] is None
