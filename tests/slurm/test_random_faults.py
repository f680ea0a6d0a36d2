"""benchmarks/faults.py from end to end: a run that is killed five times ends as if nothing had happened."""

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
    """That of the benchmark with a plain training and a distilled one."""
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
    told = json.loads(record.read_text(encoding="utf-8"))
    assert sorted(fault["planned"]["kind"] for fault in told["faults"]) == sorted(KINDS)
    compared = [path.rpartition("/")[2] for path in told["compared"]]
    assert [compared.count(name) for name in ("model.pt", "test.hyp.jsonl", "scores.json", "meta.json")] == [3, 3, 3, 1]
    assert told["problems"] == []
    again = [each for each in told["attempts"] if each["cause"] is not None]
    assert any(each["update"] > 0 for each in again), "no training went on from a checkpoint"
    assert max(each["repeated"] for each in again) <= told["interval"] == 10
    assert "All were identical to those of the undisturbed run." in report.read_text(encoding="utf-8")
