"""Training from a teacher's cache: the same numbers as with the teacher itself, and no training from a wrong cache."""

import json
import shutil
import sys
from copy import deepcopy
from pathlib import Path
from unittest import mock

import pytest
import torch

import cache_teacher
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from ekd_nmt.resume.training_inputs import training_inputs
from tiny_models import assert_same_gradients, gradients
from tiny_training import history, options, progress_files, run_training

ONLINE, CACHED = {"teacher_mode": "online"}, {"teacher_mode": "cached", "top_k": "full"}


@pytest.fixture(scope="module")
def teacher(tiny_corpus, tmp_path_factory) -> Path:
    return run_training(tiny_corpus, tmp_path_factory.mktemp("teacher"), options("teacher"))


def make_cache(corpus: Path, teacher: Path, folder: Path, k: int | str = "full", temperature: float = 1.0) -> Path:
    flags = {"teacher": teacher, "data": corpus, "top-k": k, "temperature": temperature, "output": folder}
    flags |= {"summary": folder.with_suffix(".json")}
    arguments = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    with mock.patch.object(sys, "argv", ["cache_teacher.py", *arguments, "--cpu"]):
        cache_teacher.main()
    return folder


@pytest.fixture(scope="module")
def full(tiny_corpus, teacher, tmp_path_factory) -> Path:
    return make_cache(tiny_corpus, teacher, tmp_path_factory.mktemp("caches") / "full")


def drivers(corpus: Path, teacher: Path, cache: Path, folder: Path, **overrides):
    """The same training twice, once with the teacher and once with its cache; not run yet."""
    from kd.setup import prepare

    def build(mode: dict, **files: Path):
        resolved = options("pupil", **(mode | overrides))
        return prepare(
            resolved, data=corpus, progress=folder / mode["teacher_mode"], seed=1, teacher=teacher, cpu=True, **files
        )

    return build(ONLINE), build(CACHED, teacher_cache=cache)


@pytest.mark.parametrize("overrides", [{}, {"divergence": "reverse_kl"}, {"temperature": 2.0}, {"alpha": 0.0}])
def test_the_whole_distribution_gives_the_teachers_loss_and_gradients(tiny_corpus, teacher, full, tmp_path, overrides):
    temperature = overrides.get("temperature", 1.0)
    cache = full if temperature == 1 else make_cache(tiny_corpus, teacher, tmp_path / "hot", temperature=temperature)
    online, cached = drivers(tiny_corpus, teacher, cache, tmp_path, **overrides)
    batches = list(online.batches.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True))
    assert len(batches) == 4
    for sample in batches:
        results = []
        for driver in (online, cached):
            model = deepcopy(online.model).eval()  # without dropout, so that both students are the same
            loss, _, log = driver.trainer.criterion.train()(model, sample)
            loss.backward()
            results.append((loss.item(), log["kd_loss"].item(), gradients(model)))
        (expected, expected_kd, expected_gradients), (loss, kd, found) = results
        assert expected_kd > 0.01
        assert loss == pytest.approx(expected, rel=1e-5)
        assert kd == pytest.approx(expected_kd, rel=1e-5)
        assert_same_gradients(found, expected_gradients, tolerance=1e-5)


def test_the_first_positions_can_be_left_out(tiny_corpus, teacher, full, tmp_path):
    online, cached = drivers(tiny_corpus, teacher, full, tmp_path)
    sample = next(online.batches.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True))
    losses = []
    for driver in (online, cached):
        driver.trainer.criterion.ignore_prefix_size = 2
        losses.append(driver.trainer.criterion.train()(deepcopy(online.model).eval(), sample)[2]["kd_loss"].item())
    assert losses[0] > 0.01
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_whole_training_goes_as_with_the_teacher_validation_included(tiny_corpus, teacher, full, tmp_path):
    run_training(tiny_corpus, tmp_path / "online", options("pupil", **ONLINE), teacher=teacher)
    resolved = options("pupil", **CACHED)
    run_training(tiny_corpus, tmp_path / "cached", resolved, teacher=teacher, teacher_cache=full)
    expected, found = history(tmp_path / "online"), history(tmp_path / "cached")
    assert [record["event"] for record in found] == ["train", "valid"] * 3
    for left, right in zip(found, expected, strict=True):
        assert left.pop("event") == right.pop("event")
        assert left == pytest.approx(right, rel=1e-3)
    summary = json.loads((tmp_path / "cached/train.json").read_text())
    assert summary["teacher_mode"] == "cached"
    assert summary["inputs"] == {"teacher": str(teacher), "init": None, "cache": str(full)}
    assert summary["tokens_per_second"] > 0


def test_the_most_likely_tokens_come_close_and_closer_with_the_rest_spread(tiny_corpus, teacher, tmp_path):
    cache = make_cache(tiny_corpus, teacher, tmp_path / "top8", k=8)
    found = {}
    for tail in ("bucket", "redistribute"):
        online, cached = drivers(tiny_corpus, teacher, cache, tmp_path, tail=tail, top_k=8)
        sample = next(online.batches.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True))
        model = deepcopy(online.model).eval()
        with torch.no_grad():
            expected, found[tail] = (each.trainer.criterion(model, sample)[2]["kd_loss"] for each in (online, cached))
    # one event hides some of the difference between two distributions, and adds none
    assert 0.5 * expected < found["bucket"] < expected
    assert abs(found["redistribute"] - expected) < 0.5 * abs(found["bucket"] - expected)


def test_one_altered_byte_is_caught_before_training(tiny_corpus, teacher, full, tmp_path):
    cache = Path(shutil.copytree(full, tmp_path / "full"))
    shard = cache / "train.00000.npy"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.00000\.npy: was altered: its SHA-256 .*; delete .*full and run again"):
        run_training(tiny_corpus, tmp_path / "run", options("pupil", **CACHED), teacher=teacher, teacher_cache=cache)
    assert not progress_files(tmp_path / "run", "checkpoint_*.pt")


def test_the_cache_of_another_teacher_is_refused(tiny_corpus, full, tmp_path):
    other = run_training(tiny_corpus, tmp_path / "other", options("teacher"), seed=2)
    with pytest.raises(UserError, match=r"full: the cache is of another teacher \(SHA-256 \w{12} there, \w{12} here"):
        run_training(tiny_corpus, tmp_path / "run", options("pupil", **CACHED), teacher=other, teacher_cache=full)


def test_the_cache_of_another_corpus_is_refused(tiny_corpus, tmp_path, teacher, full):
    corpus = Path(shutil.copytree(tiny_corpus, tmp_path / "bin"))
    for side in ("de.bin", "de.idx", "en.bin", "en.idx"):
        shutil.copy(corpus / f"test.de-en.{side}", corpus / f"valid.de-en.{side}")
    with pytest.raises(UserError, match=r"full: the cache is of another valid corpus \(SHA-256 \w{12} there"):
        run_training(corpus, tmp_path / "run", options("pupil", **CACHED), teacher=teacher, teacher_cache=full)


def test_another_temperature_is_refused(tiny_corpus, teacher, full, tmp_path):
    resolved = options("pupil", **CACHED, temperature=2.0)
    with pytest.raises(UserError, match=r"full: the cache is of temperature 1\.0 instead of 2\.0"):
        run_training(tiny_corpus, tmp_path / "run", resolved, teacher=teacher, teacher_cache=full)


@pytest.mark.parametrize(
    ("mode", "files"), [(ONLINE, {"teacher_cache"}), (CACHED, set())], ids=["online with", "cached without"]
)
def test_options_and_command_line_must_agree_about_the_cache(tiny_corpus, teacher, full, tmp_path, mode, files):
    given = {"teacher_cache": full} if files else {}
    with pytest.raises(UserError, match="--teacher-cache: the options of 'pupil' and the command line disagree"):
        run_training(tiny_corpus, tmp_path / "run", options("pupil", **mode), teacher=teacher, **given)


def test_an_unfinished_cache_is_refused(tiny_corpus, teacher, tmp_path):
    (tmp_path / "cache").mkdir()
    with pytest.raises(
        UserError, match=r"cache: is no finished teacher cache; delete .*cache and run again to make it"
    ):
        run_training(
            tiny_corpus,
            tmp_path / "run",
            options("pupil", **CACHED),
            teacher=teacher,
            teacher_cache=tmp_path / "cache",
        )


def test_another_cache_of_the_same_teacher_is_another_input(tiny_corpus, teacher, full, tmp_path):
    other = make_cache(tiny_corpus, teacher, tmp_path / "top8", k=8)
    inputs = [training_inputs(tiny_corpus, teacher, cache) for cache in (None, full, other)]
    assert len({tuple(map(sha256, files)) for files in inputs}) == 3


def test_a_cache_of_another_k_is_refused(tiny_corpus, teacher, full, tmp_path):
    resolved = options("pupil", teacher_mode="cached", top_k=8)
    with pytest.raises(UserError, match=r"full: the cache has top_k full, distillation\.top_k is 8; give the"):
        run_training(tiny_corpus, tmp_path / "run", resolved, teacher=teacher, teacher_cache=full)
