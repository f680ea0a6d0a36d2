"""table.py: means over seeds, comparisons, order of rows, refusals."""

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import table
from cli import UserError

SCRIPT = Path(table.__file__)
SIGNATURES = {"bleu": "tok:13a", "bleu_tokenized": "tok:none", "chrf": "nc:6"}
TEACHERS = {"junior_student": "junior_teacher", "master_student": "senior_teacher"}


def run_files(folder: Path, system: str, bleu: float, seed: int = 1, **changes) -> tuple[Path, Path]:
    """Write the two files of one run; ``changes`` go to the file that has the key."""
    scores = {"sentences": 1000, "bleu": bleu, "bleu_tokenized": bleu - 1, "chrf": bleu + 20, "signatures": SIGNATURES}
    train = {"system": system, "model": system.split("_")[-1], "teacher": TEACHERS.get(system), "init": None}
    train |= {"seed": seed, "parameters": 1000, "updates": 200, "train_seconds": 12.345, "epochs": 3}
    paths = []
    for name, content in (("scores", scores), ("train", train)):
        path = folder / f"{system}-{seed}.{name}.json"
        content |= {key: value for key, value in changes.items() if key in content}
        path.write_text(json.dumps(content), encoding="utf-8")
        paths.append(path)
    return tuple(paths)


def call(folder: Path, pairs: list, *flags: str) -> subprocess.CompletedProcess:
    scores, training = zip(*pairs, strict=True)
    files = ["--csv", str(folder / "out" / "t.csv"), "--markdown", str(folder / "out" / "t.md")]
    command = [
        sys.executable,
        SCRIPT,
        "--scores",
        *scores,
        "--training",
        *training,
        "--experiment",
        "demo",
        *files,
        *flags,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "t.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def compute(pairs: list, baseline: str = "student", senior: str = "senior_teacher"):
    result, deviation = table.tabulate(table.read_runs(pairs), "demo", baseline, senior)
    return table.as_text(result).set_index("system"), deviation


def test_command(tmp_path):
    order = ["student", "senior_teacher", "junior_student"]
    pairs = [run_files(tmp_path, name, bleu) for name, bleu in zip(order, (20.0, 40.0, 30.004), strict=True)]
    done = call(tmp_path, pairs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = read_csv(tmp_path)
    first = ["experiment", "system", "model", "teacher", "init", "parameters", "updates", "seeds"]
    last = ["delta_vs_student", "gap_to_senior", "gap_percent", "train_seconds", "signature"]
    assert list(rows[0]) == [*first, "bleu", "bleu_tokenized", "chrf", *last]
    assert [row["system"] for row in rows] == order
    assert rows[2] == {
        "experiment": "demo",
        "system": "junior_student",
        "model": "student",
        "teacher": "junior_teacher",
        "init": "-",
        "parameters": "1000",
        "updates": "200",
        "seeds": "1",
        "bleu": "30.00",
        "bleu_tokenized": "29.00",
        "chrf": "50.00",
        "delta_vs_student": "10.00",
        "gap_to_senior": "10.00",
        "gap_percent": "25.0",
        "train_seconds": "12.3",
        "signature": "tok:13a",
    }
    text = (tmp_path / "out" / "t.md").read_text(encoding="utf-8")
    assert [line.split("|")[2].strip() for line in text.splitlines()[2:5]] == order
    assert "±" not in text
    assert "delta_vs_student` is `bleu` minus that of `student`" in text
    assert all(f"`{signature}`" in text for signature in SIGNATURES.values())


def test_several_seeds(tmp_path):
    bleus = {1: 20.0, 2: 21.0, 3: 25.0}
    pairs = [
        run_files(tmp_path, "student", bleu, seed, updates=100 * seed, train_seconds=float(seed))
        for seed, bleu in bleus.items()
    ]
    pairs.append(run_files(tmp_path, "senior_teacher", 40.0))
    assert call(tmp_path, pairs).returncode == 0
    student, senior = read_csv(tmp_path)
    assert (student["seeds"], senior["seeds"]) == ("3", "1")
    assert (student["bleu"], student["bleu_tokenized"], student["updates"]) == ("22.00", "21.00", "200")
    assert (student["train_seconds"], student["gap_to_senior"], student["gap_percent"]) == ("2.0", "18.00", "45.0")
    text = (tmp_path / "out" / "t.md").read_text(encoding="utf-8")
    spread = statistics.stdev(bleus.values())
    assert f"22.00 ± {spread:.2f} | " in text
    assert f"21.00 ± {spread:.2f} | " in text
    assert f"42.00 ± {spread:.2f} | " in text
    assert text.count("±") == 4  # three metrics of one row, and the note
    assert "40.00 |" in text


def test_baseline_and_senior_compare_to_themselves(tmp_path):
    pairs = [run_files(tmp_path, "student", 20.0), run_files(tmp_path, "senior_teacher", 40.0)]
    rows, _ = compute(pairs)
    assert list(rows.delta_vs_student) == ["0.00", "20.00"]
    assert list(rows.gap_to_senior) == ["20.00", "0.00"]
    assert list(rows.gap_percent) == ["50.0", "0.0"]


def test_tiny_negative_difference_is_zero(tmp_path):
    pairs = [run_files(tmp_path, "student", 20.0), run_files(tmp_path, "master_student", 19.999)]
    rows, _ = compute(pairs)
    assert rows.delta_vs_student["master_student"] == "0.00"


def test_differences_are_of_exact_scores(tmp_path):
    # rounded first, the difference would be 0.01
    pairs = [run_files(tmp_path, "student", 20.0049), run_files(tmp_path, "master_student", 20.0051)]
    rows, _ = compute(pairs)
    assert list(rows.bleu) == ["20.00", "20.01"]
    assert rows.delta_vs_student["master_student"] == "0.00"


def test_missing_senior_and_baseline_leave_blanks(tmp_path):
    pairs = [run_files(tmp_path, "junior_student", 30.0)]
    assert call(tmp_path, pairs).returncode == 0
    (row,) = read_csv(tmp_path)
    assert [row[key] for key in ("delta_vs_student", "gap_to_senior", "gap_percent")] == ["", "", ""]
    assert "nan" not in (tmp_path / "out" / "t.md").read_text(encoding="utf-8")


def test_senior_that_scores_nothing(tmp_path):
    pairs = [run_files(tmp_path, "student", 1.0), run_files(tmp_path, "senior_teacher", 0.0)]
    rows, _ = compute(pairs)
    assert list(rows.gap_percent) == ["", ""]
    assert rows.gap_to_senior["student"] == "-1.00"


def test_other_baseline_and_senior(tmp_path):
    pairs = [run_files(tmp_path, "big", 30.0), run_files(tmp_path, "small", 15.0)]
    rows, _ = compute(pairs, baseline="small", senior="big")
    assert list(rows.delta_vs_student) == ["15.00", "0.00"]
    assert list(rows.gap_percent) == ["0.0", "50.0"]


def test_command_refuses_without_writing(tmp_path):
    pairs = [run_files(tmp_path, "student", 20.0), run_files(tmp_path, "master_student", 20.0)]
    pairs[1][1].unlink()
    done = call(tmp_path, pairs)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {pairs[1][1]}: cannot be read (No such file")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_named(tmp_path):
    for place, text, message in [
        (0, "{", r"student-1\.scores\.json: not JSON"),
        (1, "[]", r"student-1\.train\.json: 'system' is missing"),
        (0, '{"sentences": 1, "signatures": {}, "bleu": "high"}', r"scores\.json: 'bleu' is missing or of a wrong"),
        (
            0,
            '{"sentences": 1, "signatures": {}, "bleu": 1, "bleu_tokenized": 1, "chrf": 1}',
            "has no signature for bleu",
        ),
    ]:
        pair = run_files(tmp_path, "student", 20.0)
        pair[place].write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            table.read_runs([pair])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signatures": SIGNATURES | {"chrf": "nc:5"}}, "signatures .*nc:5.*but .*nc:6"),
        ({"sentences": 5}, "sentences 5"),
    ],
)
def test_scores_that_cannot_be_compared(tmp_path, changes, message):
    pairs = [run_files(tmp_path, "student", 20.0), run_files(tmp_path, "master_student", 20.0, **changes)]
    with pytest.raises(UserError, match=message):
        table.read_runs(pairs)


def test_same_run_twice(tmp_path):
    pair = run_files(tmp_path, "student", 20.0)
    with pytest.raises(UserError, match="student with seed 1 was already given"):
        table.read_runs([pair, pair])


def test_seeds_of_different_models(tmp_path):
    pairs = [run_files(tmp_path, "student", 20.0), run_files(tmp_path, "student", 20.0, 2, parameters=5)]
    with pytest.raises(UserError, match=r"seeds of student differ in parameters \(1000, 5\)"):
        compute(pairs)


def test_both_files_of_each_run(tmp_path, monkeypatch):
    pair = run_files(tmp_path, "student", 20.0)
    flags = ["--scores", str(pair[0]), "--training", str(pair[1]), str(pair[1]), "--experiment", "demo"]
    monkeypatch.setattr(sys, "argv", ["table.py", *flags, "--csv", "x", "--markdown", "y"])
    with pytest.raises(UserError, match="1 --scores and 2 --training"):
        table.main()
