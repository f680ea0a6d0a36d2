"""bleu_table.py: means over seeds, comparisons, order of rows, errors."""

import statistics
from pathlib import Path

import pytest

import bleu_table
from ekd_nmt.report.run_records import as_text, read_runs
from run_files import SIGNATURES, cache_file, read_csv, run_files
from run_files import call as call_script


def call(folder: Path, pairs: list, *flags: str, caches: tuple = ()):
    return call_script(bleu_table.__file__, folder, pairs, caches, *flags)


def compute(pairs: list, caches: tuple = (), baseline: str = "student", senior: str = "senior_teacher"):
    result, deviation = bleu_table.tabulate(read_runs(pairs, caches), "demo", baseline, senior)
    return as_text(result, bleu_table.DECIMALS).set_index("system"), deviation


def test_command(tmp_path):
    order = ["student", "senior_teacher", "junior_student"]
    pairs = [run_files(tmp_path, "student", 20.0), run_files(tmp_path, "senior_teacher", 40.0)]
    pairs.append(run_files(tmp_path, "junior_student", 30.004, teacher="junior_teacher"))
    done = call(tmp_path, pairs, caches=(cache_file(tmp_path, "junior_teacher", seconds=4.56),))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = read_csv(tmp_path)
    first = ["experiment", "system", "model", "teacher", "init", "parameters", "updates", "seeds"]
    scores = ["bleu", "bleu_tokenized", "chrf", "delta_vs_student", "gap_to_senior", "gap_percent"]
    cost = ["train_seconds", "teacher_seconds", "device", "tokens_per_second"]
    assert list(rows[0]) == [*first, *scores, *cost, "signature"]
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
        "teacher_seconds": "4.6",
        "device": "cpu",
        "tokens_per_second": "1000",
        "signature": "tok:13a",
    }
    text = (tmp_path / "out" / "t.md").read_text(encoding="utf-8")
    assert [line.split("|")[2].strip() for line in text.splitlines()[2:5]] == order
    assert "±" not in text
    assert "delta_vs_student` is `bleu` minus that of `student`" in text
    assert all(f"- `{column}`" in text for column in ("teacher_seconds", "device", "tokens_per_second"))
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


def test_students_share_the_seconds_of_a_cache(tmp_path):
    pairs = [
        run_files(tmp_path, "senior_teacher"),
        run_files(tmp_path, "senior_student", teacher="senior_teacher"),
        run_files(tmp_path, "master_student", teacher="senior_teacher", init="junior_student"),
        run_files(tmp_path, "junior_student", teacher="junior_teacher"),
    ]
    caches = (cache_file(tmp_path, "senior_teacher", seconds=30.0), cache_file(tmp_path, "junior_teacher", seconds=8.0))
    rows, _ = compute(pairs, caches)
    assert rows.teacher_seconds.to_dict() == {
        "senior_teacher": "0.0",
        "senior_student": "15.0",
        "master_student": "15.0",
        "junior_student": "8.0",
    }


def test_seconds_of_a_cache_are_shared_by_runs_not_systems(tmp_path):
    # both seeds of one student learn from the first teacher, so three runs read its cache
    pairs = [
        run_files(tmp_path, "first", seed=1, teacher="teacher"),
        run_files(tmp_path, "first", seed=2, teacher="teacher", teacher_seed=1),
        run_files(tmp_path, "second", seed=1, teacher="teacher"),
        run_files(tmp_path, "second", seed=2, teacher="teacher"),
    ]
    caches = (cache_file(tmp_path, "teacher", 1, seconds=30.0), cache_file(tmp_path, "teacher", 2, seconds=50.0))
    rows, _ = compute(pairs, caches)
    assert rows.teacher_seconds.to_dict() == {"first": "10.0", "second": "30.0"}


def test_online_teacher_has_blank_seconds(tmp_path):
    pairs = [
        run_files(tmp_path, "online_student", teacher="teacher", mode="online"),
        run_files(tmp_path, "cached_student", teacher="teacher"),
        run_files(tmp_path, "student"),
    ]
    caches = (cache_file(tmp_path, "teacher", seconds=30.0),)
    assert call(tmp_path, pairs, caches=caches).returncode == 0
    assert [row["teacher_seconds"] for row in read_csv(tmp_path)] == ["", "30.0", "0.0"]
    assert "nan" not in (tmp_path / "out/t.md").read_text(encoding="utf-8")


def test_seeds_on_several_devices(tmp_path):
    devices = ("cpu", "NVIDIA H100", "cpu")
    pairs = [
        run_files(tmp_path, "student", seed=seed, device=device, tokens_per_second=100.0 * seed)
        for seed, device in enumerate(devices, 1)
    ]
    rows, _ = compute(pairs)
    assert (rows.device["student"], rows.tokens_per_second["student"]) == ("cpu + NVIDIA H100", "200")


@pytest.mark.parametrize(
    ("bleus", "named", "delta", "gap", "percent"),
    [
        ({"student": 20.0, "senior_teacher": 40.0}, {}, ["0.00", "20.00"], ["20.00", "0.00"], ["50.0", "0.0"]),
        ({"small": 15.0, "big": 30.0}, {"baseline": "small", "senior": "big"}, ["0.00", "15.00"], ["15.00", "0.00"],
         ["50.0", "0.0"]),
        # a tiny negative difference is 0, and so is one of which only the rounded scores differ
        ({"student": 20.0, "other": 19.999}, {}, ["0.00", "0.00"], ["", ""], ["", ""]),
        ({"student": 20.0049, "other": 20.0051}, {}, ["0.00", "0.00"], ["", ""], ["", ""]),
        ({"student": 1.0, "senior_teacher": 0.0}, {}, ["0.00", "-1.00"], ["-1.00", "0.00"], ["", ""]),
    ],
)  # fmt: skip
def test_comparisons(tmp_path, bleus, named, delta, gap, percent):
    rows, _ = compute([run_files(tmp_path, system, bleu) for system, bleu in bleus.items()], **named)
    assert (list(rows.delta_vs_student), list(rows.gap_to_senior), list(rows.gap_percent)) == (delta, gap, percent)


def test_columns_are_blank_without_senior_and_baseline(tmp_path):
    pairs = [run_files(tmp_path, "junior_student", 30.0)]
    assert call(tmp_path, pairs).returncode == 0
    (row,) = read_csv(tmp_path)
    assert [row[key] for key in ("delta_vs_student", "gap_to_senior", "gap_percent")] == ["", "", ""]
    assert "nan" not in (tmp_path / "out" / "t.md").read_text(encoding="utf-8")


def test_senior_with_a_score_of_0(tmp_path):
    pairs = [run_files(tmp_path, "student", 1.0), run_files(tmp_path, "senior_teacher", 0.0)]
    rows, _ = compute(pairs)
    assert list(rows.gap_percent) == ["", ""]
    assert rows.gap_to_senior["student"] == "-1.00"


def test_other_baseline_and_senior(tmp_path):
    pairs = [run_files(tmp_path, "big", 30.0), run_files(tmp_path, "small", 15.0)]
    rows, _ = compute(pairs, baseline="small", senior="big")
    assert list(rows.delta_vs_student) == ["15.00", "0.00"]
    assert list(rows.gap_percent) == ["0.0", "50.0"]


def test_error_for_a_missing_file_leaves_no_table(tmp_path):
    pairs = [run_files(tmp_path, "student", 20.0), run_files(tmp_path, "master_student", 20.0)]
    pairs[1][1].unlink()
    done = call(tmp_path, pairs)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {pairs[1][1]}: cannot be read (No such file")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
