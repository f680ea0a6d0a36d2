"""benchmarks/faults.py end to end: a run with five faults ends with the results of an uninterrupted one."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from project_copy import ROOT
from slurm_cluster import missing

KINDS = ("kill", "scancel", "requeue", "slurmd", "controller-kill")

pytestmark = pytest.mark.slow


@pytest.fixture
def configuration(tmp_path):
    """The configuration of the benchmark, cut to one plain and one distilled training."""
    overlay = yaml.safe_load((ROOT / "benchmarks/faults.yaml").read_text(encoding="utf-8"))
    systems = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["systems"]
    kept = {"student": {}, "senior_teacher": {}, "senior_student": {"max_epoch": 6}}
    overlay["training"]["max_epoch"] = 6
    overlay["systems"] = dict.fromkeys(systems) | kept
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return path


def test_five_faults_change_nothing(configuration, tmp_path):
    if reason := missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    report, record = tmp_path / "report.md", tmp_path / "report.json"
    flags = ["--faults", "5", "--seed", "1", "--mean", "4", "--kinds", *KINDS, "--minutes", "12"]
    files = ["--config", configuration, "--output", report, "--json", record]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/faults.py", *flags, *files], capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(record.read_text(encoding="utf-8"))
    assert sorted(fault["planned"]["kind"] for fault in result["faults"]) == sorted(KINDS)
    compared = [path.rpartition("/")[2] for path in result["compared"]]
    assert [compared.count(name) for name in ("model.pt", "test.hyp.jsonl", "scores.json", "meta.json")] == [3, 3, 3, 1]
    assert result["problems"] == []
    restarts = [each for each in result["attempts"] if each["cause"] is not None]
    assert any(each["update"] > 0 for each in restarts), "no training resumed from a checkpoint"
    assert max(each["repeated"] for each in restarts) <= result["interval"] == 10
    assert "All are identical to those of the uninterrupted run." in report.read_text(encoding="utf-8")
