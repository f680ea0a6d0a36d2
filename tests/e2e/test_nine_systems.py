"""The real workflow from an empty folder to the table, in miniature: every step and all nine systems."""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from workflow import snakemake

from project_copy import ROOT, copy_project

OVERLAY = Path(__file__).with_name("miniature.yaml")
CACHES = {
    "junior_teacher": ["junior_student"],
    "senior_teacher": ["senior_student", "master_student", "takd_assistant", "senior_student_matched"],
    "takd_assistant": ["takd_student"],
}

pytestmark = pytest.mark.slow


def run_workflow(folder: Path) -> str:
    """Run the workflow in a folder; return what Snakemake prints."""
    run = snakemake(folder, "--configfile", OVERLAY)
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone in which the workflow has run."""
    folder = tmp_path_factory.mktemp("nine") / "clone"
    copy_project(folder)
    run_workflow(folder)
    return folder


@pytest.fixture(scope="module")
def results(project):
    return project / "results/miniature"


@pytest.fixture(scope="module")
def systems():
    """Names in the order of the configuration."""
    return list(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["systems"])


@pytest.fixture(scope="module")
def table(project):
    with (project / "results/bleu_table.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def summary(results: Path, system: str) -> dict:
    return json.loads((results / system / "seed1/train.json").read_text(encoding="utf-8"))


def validations(results: Path, system: str) -> dict[int, dict]:
    """The validation records of a system by epoch."""
    lines = (results / system / "seed1/training.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["epoch"]: record for record in map(json.loads, lines) if record["event"] == "valid"}


def test_table_has_nine_rows_in_order(table, systems):
    assert len(systems) == 9
    assert [row["system"] for row in table] == systems
    rows = {row["system"]: row for row in table}
    assert {row["experiment"] for row in table} == {"miniature"}
    assert {row["seeds"] for row in table} == {"1"}
    assert [rows["master_student"][key] for key in ("model", "teacher", "init")] == [
        "student",
        "senior_teacher",
        "junior_student",
    ]
    assert [rows["student"][key] for key in ("teacher", "init", "delta_vs_student")] == ["-", "-", "0.00"]
    assert rows["senior_teacher"]["gap_to_senior"] == "0.00"
    parameters = [int(rows[name]["parameters"]) for name in ("student", "junior_teacher", "senior_teacher")]
    assert parameters == sorted(set(parameters))
    assert len({rows[name]["parameters"] for name in systems if rows[name]["model"] == "student"}) == 1


def test_one_cache_of_each_teacher_serves_all_its_students(results, table):
    rows = {row["system"]: row for row in table}
    for teacher, students in CACHES.items():
        folder = results / teacher / "seed1/cache"
        assert sorted(path.name for path in folder.iterdir()) == ["top32", "top32.json"], "unfinished work is left"
        cache = json.loads((folder / "top32.json").read_text(encoding="utf-8"))
        shares = [float(rows[student]["teacher_seconds"]) for student in students]
        assert sum(shares) == pytest.approx(cache["seconds"], abs=0.1 * len(shares))
        for student in students:
            inputs = summary(results, student)["inputs"]
            assert inputs["cache"] == f"results/miniature/{teacher}/seed1/cache/top32"
            assert any("kd_loss" in record for record in validations(results, student).values())


def test_cost_table_adds_up_what_each_method_needs(project, results, table, systems):
    with (project / "results/cost_table.csv").open(encoding="utf-8", newline="") as handle:
        rows = {row["system"]: row for row in csv.DictReader(handle)}
    assert list(rows) == systems
    seconds = {row["system"]: float(row["train_seconds"]) for row in table}
    caches = [json.loads((results / name / "seed1/cache/top32.json").read_text("utf-8"))["seconds"] for name in CACHES]
    master = {key: float(value) for key, value in rows["master_student"].items() if key.endswith("_seconds")}
    assert master["own_seconds"] == pytest.approx(seconds["master_student"], abs=0.2)
    assert master["init_seconds"] == pytest.approx(seconds["junior_student"], abs=0.2)
    teachers = seconds["junior_teacher"] + seconds["senior_teacher"]
    assert master["teacher_training_seconds"] == pytest.approx(teachers, abs=0.2)
    assert master["cache_seconds"] == pytest.approx(caches[0] + caches[1], abs=0.2)
    parts = sum(value for key, value in master.items() if key != "total_seconds")
    assert master["total_seconds"] == pytest.approx(parts, abs=0.3)
    assert rows["student"]["times_student"] == "1.00"


def test_every_test_line_is_translated(results, systems):
    source, reference = ((results / f"data/raw/test.{lang}").read_text("utf-8").splitlines() for lang in ("de", "en"))
    assert len(source) == 40
    for system in systems:
        lines = (results / system / "seed1/test.hyp.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        assert [record["source"] for record in records] == source, system
        assert [record["reference"] for record in records] == reference, system
        assert all(isinstance(record["hypothesis"], str) for record in records), system


def test_control_has_the_updates_of_the_chain(results):
    updates = {name: summary(results, name)["updates"] for name in ("junior_student", "master_student")}
    assert updates["master_student"] == 2 * updates["junior_student"] > 0
    assert summary(results, "senior_student_matched")["updates"] == sum(updates.values())


def test_master_student_starts_where_junior_student_ended(results):
    junior = validations(results, "junior_student")
    best = junior[summary(results, "junior_student")["best_epoch"]]
    start = validations(results, "master_student")[0]
    # the divergence is from another teacher, so of the losses only the likelihood is comparable
    assert start["nll_loss"] == best["nll_loss"]
    assert start["updates"] == 0
    assert 0 not in validations(results, "student")


def test_logs_are_quiet(results):
    logs = list(results.rglob("logs/*.log"))
    assert len(logs) >= 9 * 3 + 7  # train, translate and score of each system, and the steps of the data
    for log in logs:
        text = log.read_text(encoding="utf-8")
        assert not re.search("warning|debug|traceback|deprecat|error", text, re.IGNORECASE), f"{log}:\n{text}"
    assert "translated 40 sentences" in (results / "student/seed1/logs/translate.log").read_text(encoding="utf-8")


def test_the_experiment_keeps_a_table_of_its_own(project):
    for name in ("bleu_table.csv", "bleu_table.md"):
        assert (project / "results" / name).read_bytes() == (project / "results/miniature" / name).read_bytes()


def test_second_run_has_nothing_to_do(project, table):
    before = (project / "results/bleu_table.csv").stat().st_mtime_ns
    assert "Nothing to be done" in run_workflow(project)
    assert (project / "results/bleu_table.csv").stat().st_mtime_ns == before
