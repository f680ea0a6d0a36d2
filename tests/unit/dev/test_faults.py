"""What benchmarks/faults.py draws, compares, counts and reports; tests/slurm runs it on a cluster."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict

import pytest

from project_copy import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from fault_kinds import KINDS, draw, title
from fault_report import OTHER, attempts_of, attribute, differences, digests, markdown
from fault_target import Fault, Hit, Planned

RUN = "results/mini/student/seed1"


def result(plan=(), attempts=(), problems=(), local=False):
    faults = [Fault(planned, 100.0 + planned.number, 101.0 + planned.number, Hit("it")) for planned in plan]
    return {
        "command": "python benchmarks/faults.py",
        "seed": 7,
        "mean": 9.0,
        "local": local,
        "interval": 10,
        "uninterrupted_seconds": 12.0,
        "seconds_with_faults": 34.0,
        "runs": 1,
        "compared": {"mini/student/seed1/model.pt": "1", "mini/student/seed1/scores.json": "2", "bleu_table.csv": "3"},
        "faults": [asdict(fault) for fault in faults],
        "started": 100.0,
        "attempts": list(attempts),
        "unplanned_exits": [],
        "problems": list(problems),
    }


@pytest.fixture
def project(tmp_path):
    """Results of a run: files that are compared, and one that is not."""
    files = {
        f"{RUN}/model.pt": "weights",
        f"{RUN}/test.hyp.jsonl": "words",
        f"{RUN}/scores.json": "{}",
        f"{RUN}/train.json": "12 s",
        f"{RUN}/cache/top32/meta.json": "{}",
        "results/mini/data/bin/train.de-en.de.bin": "ids",
        "results/mini/bleu_table.csv": "system,bleu,train_seconds\nstudent,1.5,12.0\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_seed_determines_a_plan_with_equal_shares():
    plan = draw(5, 100, list(KINDS), mean=10)
    assert plan == draw(5, 100, list(KINDS), mean=10)
    assert plan != draw(6, 100, list(KINDS), mean=10)
    counts = Counter(planned.kind for planned in plan)
    assert counts.keys() == KINDS.keys()
    assert max(counts.values()) - min(counts.values()) <= 1
    assert [planned.number for planned in plan] == list(range(1, 101))
    assert 6 < sum(planned.wait for planned in plan) / 100 < 15
    assert all(0 <= value < 1 for planned in plan for value in (planned.rank, planned.detail))


@pytest.mark.parametrize("name", ["model.pt", "test.hyp.jsonl", "scores.json", "cache/top32/meta.json"])
def test_a_changed_missing_or_extra_file_is_a_difference(project, name):
    before, path = digests(project), project / RUN / name
    assert differences(before, digests(project)) == []
    path.write_text("other")
    assert differences(before, digests(project)) == [f"{RUN}/{name} differs"]
    path.unlink()
    assert differences(before, digests(project)) == [f"{RUN}/{name} is missing"]
    assert differences(digests(project), before) == [f"{RUN}/{name} is not in the uninterrupted run"]
    assert len(differences({}, {})) == 1, "there is nothing to compare"


def test_times_in_the_table_are_not_compared(project):
    before, table = digests(project), project / "results/mini/bleu_table.csv"
    (project / RUN / "train.json").write_text("13 s")
    table.write_text("system,bleu,train_seconds\nstudent,1.5,13.0\n")
    assert differences(before, digests(project)) == []
    table.write_text("system,bleu,train_seconds\nstudent,1.6,12.0\n")
    assert differences(before, digests(project)) == ["results/mini/bleu_table.csv differs"]


def test_restarts_are_counted_with_the_fault_that_ended_the_previous_attempt(project):
    starts = [(10, "1", 11), (30, "2", 12), (50, "2", 13), (70, None, 14), (90, "5", 15)]
    records = [
        {"time": time, "job": job, "pid": pid, "host": "node", "update": 5 * number, "repeated": number}
        for number, (time, job, pid) in enumerate(starts)
    ]
    folder = project / RUN / "progress/0a"
    folder.mkdir(parents=True)
    folder.joinpath("attempts.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records) + '{"ti')

    def fault(kind, time, pids=(), jobs=()):
        return Fault(Planned(1, kind, 1.0, 0.5, 0.5), time, time + 1, Hit("it", list(pids), list(jobs)))

    faults = [
        fault("scancel", 20, [99], ["1"]),
        fault("kill", 25, [98], ["7"]),  # another's
        fault("requeue", 40, [], ["2"]),
        fault("kill", 60, [13]),
        fault("term", 95, [14]),  # after the start in question
    ]
    attempts = attempts_of(project, run=3)
    attribute(attempts, faults)
    assert [each["cause"] for each in attempts] == [None, "scancel", "requeue", "kill", OTHER]
    assert {(each["run"], each["folder"]) for each in attempts} == {(3, "mini/student/seed1/progress/0a")}

    text = markdown(result(draw(1, 2, ["kill", "term"], 5), attempts))
    assert "Of 4 restarts, 4 resumed from a checkpoint and 0 had none yet" in text
    assert "Repeated updates: 10 in all, at most 4 after one fault; the interval is 10" in text
    assert f"| {title('kill')} | 1 | 1 | 1 | 3 | 3 |" in text
    assert f"| {OTHER} | 0 | 1 | 1 | 4 | 4 |" in text
    assert "All are identical" in text
    assert "1 models, 1 files of scores, 1 tables" in text


def test_the_report_has_problems_and_the_sequence():
    plan = draw(1, 3, ["kill"], 5)
    text = markdown(result(plan, problems=["run 1: results/x/model.pt differs"], local=True))
    assert "identical" not in text
    assert "- run 1: results/x/model.pt differs" in text
    sequence = [line.split("|")[1:6] for line in text.splitlines() if line.startswith("| kill |")]
    assert [[cell.strip() for cell in cells[:3]] for cells in sequence] == [["kill", str(n), str(n)] for n in (1, 2, 3)]
    assert [float(cells[3]) for cells in sequence] == [round(planned.wait, 1) for planned in plan]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--faults", "0"], "--faults: needs a number above 0"),
        (["--local", "--kinds", "requeue"], "--kinds requeue: needs SLURM"),
        (["--local", "--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--local", "--interval", "0"], "--interval: needs a number above 0"),
        (["--local", "--reference", str(ROOT / "config")], "has no results"),
        (["--local", "--folder", str(ROOT)], "is not empty; name a new folder"),
    ],
)
def test_bad_input_is_one_line(flags, message):
    command = [sys.executable, str(ROOT / "benchmarks/faults.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr
