"""Records of runs that are refused: damaged, contradictory, or not comparable."""

from argparse import Namespace
from pathlib import Path

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.report.run_records import given_runs, read_runs
from run_files import SIGNATURES, cache_file, run_files


@pytest.mark.parametrize(
    ("place", "text", "message"),
    [
        (0, "{", r"student/seed1/scores\.json: not JSON"),
        (1, "[]", r"student/seed1/train\.json: 'content' is missing or of a wrong type"),
        (0, '{"sentences": 1, "signatures": {}, "bleu": "high"}', r"scores\.json: 'bleu' is missing or of a wrong"),
        (
            0,
            '{"sentences": 1, "signatures": {}, "bleu": 1, "bleu_tokenized": 1, "chrf": 1}',
            "has no signature for bleu",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, place, text, message):
    pair = run_files(tmp_path, "student")
    pair[place].write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_runs([pair])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": None}, r"train\.json: 'device' is missing or of a wrong type"),
        ({"tokens_per_second": True}, "'tokens_per_second' is missing or of a wrong type"),
        ({"inputs": {"teacher": None, "init": None}}, "'inputs.cache' is missing or of a wrong type"),
        ({"inputs": {"teacher": None, "init": 3, "cache": None}}, "'inputs.init' is missing or of a wrong type"),
        ({"teacher_mode": "cached"}, "teacher_mode 'cached' does not fit inputs.teacher None and inputs.cache None"),
        ({"teacher_mode": "online"}, "teacher_mode 'online' does not fit inputs.teacher None"),
        (
            {"teacher_mode": "online", "inputs": {"teacher": "t/model.pt", "init": None, "cache": "t/cache/top32"}},
            "teacher_mode 'online' does not fit .* and inputs.cache 't/cache/top32'; delete it and train again",
        ),
    ],
)
def test_summaries_that_would_give_a_wrong_cost(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read_runs([run_files(tmp_path, "student", **changes)])


@pytest.mark.parametrize(
    ("system", "changes", "message"),
    [
        ("master_student", {"signatures": SIGNATURES | {"chrf": "nc:5"}}, "signatures .*nc:5.*but .*nc:6"),
        ("master_student", {"sentences": 5}, "sentences 5"),
        ("student", {}, "student with seed 1 was already given"),
        ("student", {"seed": 2, "parameters": 5}, r"seeds of student differ in parameters \(1000, 5\)"),
    ],
)
def test_runs_that_cannot_be_compared(tmp_path, system, changes, message):
    pairs = [run_files(tmp_path, "student"), run_files(tmp_path, system, **changes)]
    with pytest.raises(UserError, match=message):
        read_runs(pairs)


def test_a_run_with_one_file(tmp_path):
    scores, training = run_files(tmp_path, "student")
    with pytest.raises(UserError, match="1 --scores and 2 --training; give both files of each run"):
        given_runs(Namespace(scores=[scores], training=[training, training], caches=[]))


def test_seeds_taught_in_different_ways(tmp_path):
    pairs = [
        run_files(tmp_path, "pupil", seed=seed, teacher="teacher", mode=mode)
        for seed, mode in enumerate(("online", "cached"), 1)
    ]
    with pytest.raises(UserError, match=r"seeds of pupil differ in teacher_mode \(online, cached\)"):
        read_runs(pairs, [cache_file(tmp_path, "teacher", 2)])


def test_cache_without_its_summary(tmp_path):
    pair = run_files(tmp_path, "pupil", teacher="teacher")
    cache = tmp_path / "teacher/seed1/cache/top32"
    with pytest.raises(UserError) as error:
        read_runs([pair], [cache_file(tmp_path, "teacher", 2)])
    assert str(error.value) == (
        f"{pair[1]}: its teacher cache {cache} has no summary here; give {cache}.json to --caches"
    )


def test_damaged_cache_summary(tmp_path):
    pair = run_files(tmp_path, "pupil", teacher="teacher")
    with pytest.raises(UserError, match=r"cache/top32\.json: 'seconds' is missing or of a wrong type"):
        read_runs([pair], [cache_file(tmp_path, "teacher", seconds="long")])


def test_variant_of_a_temperature_is_another_cache(tmp_path):
    # its name has a dot of its own
    caches = [
        cache_file(tmp_path, "teacher", variant=variant, seconds=seconds, device=device)
        for variant, seconds, device in (("top32", 1.0, "cpu"), ("top32-T2.0", 2.0, "gpu"), ("top32-T2.5", 3.0, "tpu"))
    ]
    runs = read_runs([run_files(tmp_path, "pupil", teacher="teacher", variant="top32-T2.0")], caches)
    assert list(runs.cache) == [f"{tmp_path}/teacher/seed1/cache/top32-T2.0"]
    assert (list(runs.cache_seconds), list(runs.cache_device)) == ([2.0], ["gpu"])


def test_relative_and_absolute_paths_are_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair = run_files(Path("results"), "pupil", teacher="teacher")
    runs = read_runs([pair], [cache_file(tmp_path / "results", "teacher")])
    assert list(runs.folder) == [f"{tmp_path}/results/pupil/seed1"]
    assert list(runs.cache_seconds) == [10.0]
