"""cost_table.py: the total cost of a model, in which everything that it depends on counts once."""

from pathlib import Path

import pytest

import cost_table
from ekd_nmt.common.errors import UserError
from ekd_nmt.report.run_records import as_text, read_runs
from run_files import cache_file, call, read_csv, run_files

SECONDS = [*cost_table.SECONDS, "total_seconds"]
# seconds of each training and each cache; powers of two, so that a sum has only one decomposition
TRAININGS = {
    "student": (1, {}),
    "junior_teacher": (2, {}),
    "senior_teacher": (4, {}),
    "junior_student": (8, {"teacher": "junior_teacher"}),
    "senior_student": (16, {"teacher": "senior_teacher"}),
    "master_student": (32, {"teacher": "senior_teacher", "init": "junior_student"}),
    "takd_assistant": (64, {"teacher": "senior_teacher"}),
    "takd_student": (128, {"teacher": "takd_assistant"}),
}
CACHES = {"junior_teacher": 256, "senior_teacher": 512, "takd_assistant": 1024}


def chain(root: Path) -> tuple[list, list]:
    """The files of the default chain, runs and caches."""
    pairs = [
        run_files(root, name, 20.0 + seconds / 100, train_seconds=seconds, **edges)
        for name, (seconds, edges) in TRAININGS.items()
    ]
    return pairs, [cache_file(root, name, seconds=seconds) for name, seconds in CACHES.items()]


def compute(pairs: list, caches: list = (), baseline: str = "student"):
    return cost_table.tabulate(read_runs(pairs, caches), "demo", baseline).set_index("system")


def seconds(table, system: str) -> list[float]:
    return list(table.loc[system, SECONDS])


@pytest.mark.parametrize(
    ("system", "own", "init", "teacher", "cache"),
    [
        ("student", 1, 0, 0, 0),
        ("senior_teacher", 4, 0, 0, 0),
        ("junior_student", 8, 0, 2, 256),
        ("senior_student", 16, 0, 4, 512),
        # the earlier stage brings its own teacher and that teacher's cache
        ("master_student", 32, 8, 2 + 4, 256 + 512),
        ("takd_assistant", 64, 0, 4, 512),
        # also the assistant's own teacher
        ("takd_student", 128, 0, 64 + 4, 1024 + 512),
    ],
)
def test_costs_of_the_default_systems(tmp_path, system, own, init, teacher, cache):
    assert seconds(compute(*chain(tmp_path)), system) == [own, init, teacher, cache, own + init + teacher + cache]


@pytest.mark.parametrize(
    ("runs", "caches", "expected"),
    [
        pytest.param(
            {
                "teacher": (100, {}),
                "first": (1, {"teacher": "teacher"}),
                "second": (2, {"teacher": "teacher", "init": "first"}),
                "third": (4, {"teacher": "teacher", "init": "second"}),
            },
            {("teacher", "top32"): 1000},
            [4, 1 + 2, 100, 1000, 1107],
            id="a teacher that several stages share counts once",
        ),
        pytest.param(
            {"first": (1, {}), "second": (2, {"teacher": "first", "init": "first"})},
            {("first", "top32"): 10},
            [2, 1, 0, 10, 13],
            id="a teacher that is also a stage counts as a stage",
        ),
        pytest.param(
            {"base": (1, {}), "teacher": (2, {"init": "base"}), "pupil": (4, {"teacher": "teacher"})},
            {("teacher", "top32"): 10},
            [4, 0, 2 + 1, 10, 17],
            id="an earlier stage of a teacher is a cost of the teacher",
        ),
        pytest.param(
            {"teacher": (2, {}), "pupil": (4, {"teacher": "teacher", "mode": "online"})},
            {("teacher", "top32"): 10},
            [4, 0, 2, 0, 6],
            id="another student's cache of an online teacher does not count",
        ),
        pytest.param(
            {
                "teacher": (2, {}),
                "first": (4, {"teacher": "teacher"}),
                "second": (8, {"teacher": "teacher", "variant": "full", "init": "first"}),
            },
            {("teacher", "top32"): 10, ("teacher", "full"): 20},
            [8, 4, 2, 30, 44],
            id="two variants of one teacher are two caches",
        ),
        pytest.param(
            {"b": (2, {"init": "a"}), "a": (1, {"init": "b"})},
            {},
            [1, 2, 0, 0, 3],
            id="a cycle of damaged summaries ends",
        ),
    ],
)
def test_costs_of_the_last_system(tmp_path, runs, caches, expected):
    pairs = [run_files(tmp_path, name, train_seconds=time, **edges) for name, (time, edges) in runs.items()]
    summaries = [cache_file(tmp_path, name, variant=kind, seconds=time) for (name, kind), time in caches.items()]
    assert seconds(compute(pairs, summaries), list(runs)[-1]) == expected


def test_costs_are_averaged_over_seeds(tmp_path):
    # both students learn from the teacher of seed 1, which costs 100; no student needs that of seed 2
    pairs = [
        run_files(tmp_path, "teacher", seed=1, train_seconds=100),
        run_files(tmp_path, "teacher", seed=2, train_seconds=300),
        run_files(tmp_path, "pupil", 20.0, seed=1, train_seconds=1, teacher="teacher"),
        run_files(tmp_path, "pupil", 22.0, seed=2, train_seconds=3, teacher="teacher", teacher_seed=1),
    ]
    table = compute(pairs, [cache_file(tmp_path, "teacher", 1, seconds=1000)], baseline="teacher")
    assert seconds(table, "pupil") == [2, 0, 100, 1000, 1102]
    assert seconds(table, "teacher") == [200, 0, 0, 0, 200]
    assert list(table.loc["pupil", ["seeds", "bleu", "delta_vs_student", "times_student"]]) == [2, 21.0, 1.0, 5.51]


def test_multiples_of_the_baseline(tmp_path):
    table = compute(*chain(tmp_path))
    assert table.times_student["student"] == 1
    assert table.times_student["senior_student"] == 16 + 4 + 512
    other = compute(*chain(tmp_path), baseline="senior_teacher")
    assert other.times_student["senior_student"] == (16 + 4 + 512) / 4


@pytest.mark.parametrize("baseline", ["absent", "idle"])
def test_multiples_are_blank_without_baseline(tmp_path, baseline):
    pairs = [run_files(tmp_path, "student"), run_files(tmp_path, "idle", train_seconds=0)]
    text = as_text(compute(pairs, baseline=baseline), cost_table.DECIMALS)
    assert list(text.times_student) == ["", ""]


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        (
            "senior_teacher",
            "senior_student/seed1/train.json: its teacher {}/senior_teacher/seed1/model.pt is not of a run",
        ),
        (
            "junior_student",
            "master_student/seed1/train.json: its init {}/junior_student/seed1/model.pt is not of a run",
        ),
        ("junior_teacher", "junior_student/seed1/train.json: its teacher {}/junior_teacher/seed1/model.pt is not of"),
    ],
)
def test_error_for_a_missing_run(tmp_path, absent, message):
    pairs, caches = chain(tmp_path)
    pairs = [pair for pair in pairs if pair[0].parts[-3] != absent]
    done = call(cost_table.__file__, tmp_path, pairs, caches)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/{message.format(tmp_path)}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_error_for_runs_in_one_folder(tmp_path):
    pairs = [run_files(tmp_path, "student"), run_files(tmp_path, "teacher")]
    scores, training = pairs[1]
    pairs[1] = (scores, training.rename(pairs[0][1].with_name("other.json")))
    with pytest.raises(UserError, match=r"other\.json: in the folder of .*student/seed1/train\.json"):
        compute(pairs)


def test_command(tmp_path):
    pairs, caches = chain(tmp_path)
    done = call(cost_table.__file__, tmp_path, pairs, caches)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = read_csv(tmp_path)
    assert [row["system"] for row in rows] == list(TRAININGS)
    assert list(rows[0]) == [
        *("experiment", "system", "seeds", "bleu", "delta_vs_student", "own_seconds", "init_seconds"),
        *("teacher_training_seconds", "cache_seconds", "total_seconds", "times_student"),
    ]
    assert list(rows[5].values()) == [
        *("demo", "master_student", "1", "20.32", "0.31"),
        *("32.0", "8.0", "6.0", "768.0", "814.0", "814.00"),
    ]


def test_markdown_explains_itself(tmp_path):
    pairs, caches = chain(tmp_path)
    caches[0] = cache_file(tmp_path, "junior_teacher", device="NVIDIA H100")
    assert call(cost_table.__file__, tmp_path, pairs, caches).returncode == 0
    text = (tmp_path / "out/t.md").read_text(encoding="utf-8")
    assert [line.split("|")[2].strip() for line in text.splitlines()[2 : 2 + len(TRAININGS)]] == list(TRAININGS)
    assert "wall-clock time on cpu + NVIDIA H100." in text
    assert "counted in the row of each" in text
    assert all(f"- `{column}`" in text for column in [*SECONDS, "times_student", "delta_vs_student"])
    assert "nan" not in text


def test_output_depends_only_on_the_files(tmp_path, monkeypatch):
    pairs, caches = chain(tmp_path)
    texts = set()
    for hash_seed, order in (("1", 1), ("2", 1), ("3", -1)):
        monkeypatch.setenv("PYTHONHASHSEED", hash_seed)
        assert call(cost_table.__file__, tmp_path, pairs, caches[::order]).returncode == 0
        texts.add(tuple((tmp_path / f"out/t.{kind}").read_bytes() for kind in ("csv", "md")))
    assert len(texts) == 1
    ((table, _),) = texts
    assert table.startswith(b"experiment,system,seeds,bleu,")
    assert b"\r" not in table
