"""clean_stale.py removes unfinished work from which no job of the configuration would resume, and nothing else."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clean_stale import clean, differences, remove, size_of, temporaries
from configurations import SYSTEMS, experiment, merged
from ekd_nmt.common.command import revision
from ekd_nmt.common.errors import UserError
from left_behind import KEY, lease, put_step, running, step, unfinished

ROOT = Path(__file__).parents[3]
SIZE = 3_000_000  # bytes of a checkpoint
SEEDS = "{seeds: [1, 2]}"
EXPERIMENT = experiment(SEEDS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the corpus and the models of the default experiment, and two seeds of each system."""
    monkeypatch.chdir(tmp_path)
    models = [EXPERIMENT.run_path(name, seed, "model.pt") for name in SYSTEMS for seed in (1, 2)]
    for path in (*EXPERIMENT.binarized(), *models):
        put(path)
    for cache in EXPERIMENT.caches():
        put(f"{EXPERIMENT.cache_path(*cache)}/meta.json")
    return tmp_path


def put(path, text=None):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"content of {path}" if text is None else text)
    return path


def work(*job, **how):
    """A work folder with a checkpoint, as a killed step leaves it."""
    folder = unfinished(*job, **how)
    (folder / "checkpoint_last.pt").write_bytes(bytes(SIZE))
    return folder


def training(system="master_student", seed=1, exp=EXPERIMENT, **how):
    """That of a system; the default one has a teacher, a cache and an init."""
    cache = exp.teacher_cache(system, seed)
    models = [exp.teacher_file(system, seed), cache and f"{cache}/meta.json", exp.init_file(system, seed)]
    inputs = [*filter(None, models), *exp.binarized(("train", "valid"))]
    return work(exp.run_path(system, seed), "train", exp.options(system) | {"seed": seed}, inputs, **how)


def caching(teacher="senior_teacher", seed=1, k=32, temperature=1.0, **how):
    options = {"format": 1, "top_k": k, "temperature": temperature, "max_tokens": 4096, "cuda": False}
    inputs = [EXPERIMENT.run_path(teacher, seed, "model.pt"), *EXPERIMENT.binarized(("train", "valid"))]
    return work(EXPERIMENT.run_path(teacher, seed, "cache"), "cache_teacher", options, inputs, **how)


def translation(system="student", **options):
    options = {"split": "test", "target_lang": "en", "cuda": False} | EXPERIMENT.config.decoding.model_dump() | options
    inputs = [EXPERIMENT.run_path(system, 1, "model.pt"), *EXPERIMENT.binarized(("test",))]
    return work(EXPERIMENT.run_path(system, 1), "translate", options, inputs, key=KEY[::-1])


def cleaned(capsys, overlay=SEEDS, **how):
    """What a call prints; the overlay is merged over the default configuration."""
    clean(experiment(overlay), **how)
    return capsys.readouterr().out


def test_work_of_the_configuration_stays(folder, capsys):
    places = [training(), training("student", 2), training("senior_student", 2), caching(), translation()]
    assert cleaned(capsys) == "results/demo: nothing is stale\n"
    assert all((place / "checkpoint_last.pt").exists() for place in places)


@pytest.mark.parametrize(
    ("left", "overlay", "reason"),
    [
        ((), "systems: {master_student: null, senior_student_matched: null}", "master_student is no system"),
        ((), "seeds: [3, 4]", "1 is no seed of the configuration"),
        ((), "systems: {master_student: {lr: 0.001}}", "training.lr was 0.005 and is 0.001 now"),
        ((), "training: {max_epoch: 5, max_update: 7}", "training.max_update was None and is 7 now"),
        ((), "systems: {master_student: {teacher: junior_teacher}}", "teacher was 'senior_teacher' and is 'junior_tea"),
        ((), "distillation: {teacher_mode: online}", "distillation.tail was 'redistribute' and is not set now"),
        ((), "models: {student: {layers: 3}, junior: {layers: 3}}", "model.layers was 2 and is 3 now"),
        # another teacher of the same options
        (
            ("senior_student", 2),
            "{seeds: [1, 2], distillation: {teacher_seed: same}}",
            "it read results/demo/senior_teacher/seed1/cache/top32/meta.json, not now",
        ),
    ],
)
def test_another_configuration(folder, capsys, left, overlay, reason):
    place = training(*left)
    shown = cleaned(capsys, overlay)
    assert shown.startswith(f"removed {place} (3 MB): {reason}")
    assert shown.endswith("\nresults/demo: removed 3 MB in total\n")
    assert not place.parent.exists(), "it became empty"
    assert place.parent.with_name("model.pt").exists()


@pytest.mark.parametrize("overlay", ["decoding: {beam: 3}", "decoding: {lenpen: 0.5}", "systems: {takd_student: null}"])
def test_translations(folder, capsys, overlay):
    place = translation("takd_student")
    assert f"removed {place}" in cleaned(capsys, overlay)


def test_an_input_that_has_changed_or_is_missing(folder, capsys):
    changed, missing, both = training(), training("student"), training("junior_student")
    put("results/demo/senior_teacher/seed1/model.pt", "trained again")
    put("results/demo/junior_teacher/seed1/model.pt", "trained again")
    gone = Path(EXPERIMENT.binarized(("valid",))[-1])
    gone.unlink()
    shown = cleaned(capsys)
    assert f"removed {changed} (3 MB): its input results/demo/senior_teacher/seed1/model.pt has changed" in shown
    assert f"kept {missing} (3 MB): its input {gone} is missing; it may" in shown
    assert missing.exists()
    assert not changed.exists()
    assert not both.exists()


def test_without_a_job_record_a_folder_goes_only_if_it_holds_no_work(folder, capsys):
    lost, empty, damaged = training(), training("student"), caching()
    (lost / "job.json").unlink()
    put(empty / "job.json", "")
    (empty / "checkpoint_last.pt").unlink()
    put(damaged / "job.json", "{")
    (damaged / "checkpoint_last.pt").rename(put(damaged / "cache/train.00000.npy"))
    notes = put("results/demo/student/seed1/progress/notes/mine.txt")
    shown = cleaned(capsys, finished=True)
    assert f"removed {empty} (0 kB): holds no work; its job was killed when it started" in shown
    for kept in (lost, damaged):
        assert f"kept {kept} (3 MB): holds work, but no valid job.json; delete the folder if you do not" in shown
    assert (lost.exists(), damaged.exists(), empty.exists()) == (True, True, False)
    assert notes.exists(), "its name is no key"


def test_another_revision(folder, capsys):
    places = [training(revision=0), caching(revision=2)]
    shown = cleaned(capsys)
    for place, command, found in zip(places, ("train", "cache_teacher"), (0, 2), strict=True):
        assert f"removed {place} (3 MB): REVISION of {command} was {found} and is {revision(command)} now" in shown


@pytest.mark.parametrize(
    ("overlay", "stays"),
    [
        ("{}", True),
        ("distillation: {top_k: 16}", False),
        ("distillation: {temperature: 2.0}", False),
        ("{distillation: {top_k: 16}, systems: {takd_assistant: {top_k: 32}}}", True),
        ("distillation: {teacher_mode: online}", False),
        ("systems: {junior_student: {teacher: senior_teacher}, takd_student: {teacher: senior_teacher}}", True),
    ],
)
def test_caches(folder, capsys, overlay, stays):
    place = caching()
    assert ("no system reads a cache of senior_teacher with top_k 32" in cleaned(capsys, overlay)) is not stays
    assert place.exists() is stays


def test_a_cache_of_another_teacher_is_stale(folder, capsys):
    unread, moved = caching("student"), caching()
    shutil.copytree(moved, Path("results/demo/junior_teacher/seed1/cache/progress/0123456789abcdef"))
    shown = cleaned(capsys)
    assert f"removed {unread} (3 MB): no system reads a cache of student" in shown
    assert "it did not read results/demo/junior_teacher/seed1/model.pt, but now" in shown
    assert moved.exists()


def test_the_folder_of_a_running_owner_stays(folder, capsys):
    here, there, dead = training("student"), training("junior_teacher"), training("senior_teacher")
    for place, owner in (
        (here, {"pid": os.getpid(), "host": socket.gethostname()}),
        (there, {}),
        (dead, {"age": 3600}),
    ):
        lease(place, **({"since": time.time()} | owner))
        put(place.parent.parent / ".summary.tmp")
    shown = cleaned(capsys, "seeds: [3]")
    assert f"kept {here} (3 MB): process {os.getpid()} on {socket.gethostname()} works there" in shown
    assert f"kept {there} (3 MB): process 7 on elsewhere works there" in shown
    assert (here.exists(), there.exists(), dead.exists()) == (True, True, False)
    assert {path.parent for path in Path("results").rglob(".summary.tmp")} == {here.parent.parent, there.parent.parent}


def test_work_of_finished_trainings_goes_when_asked(folder, capsys):
    done, older, other = training(), training("student"), training("junior_teacher")
    for place in (done, older, other):
        run, job = place.parent.parent, json.loads((place / "job.json").read_text())
        options = job["options"] | ({"model_name": "another"} if place == other else {})
        put(run / "config.json", json.dumps(options))
        os.utime(run / "model.pt", (1, 1) if place == older else None)
    assert "nothing is stale" in cleaned(capsys)
    shown = cleaned(capsys, finished=True)
    assert f"removed {done} (3 MB): its training has finished" in shown
    assert shown.endswith("removed 3 MB in total\n")
    assert older.exists()
    assert other.exists(), "the model that is there was trained with other options"


def test_a_dry_run_removes_nothing(folder, capsys):
    place, halves = training(), [put("results/demo/data/.bin.tmp/file").parent, put("resources/set/.x.tmp")]
    before = sorted(Path().rglob("*"))
    shown = cleaned(capsys, "seeds: [3]", dry_run=True)
    assert f"would remove {place} (3 MB): 1 is no seed" in shown
    assert all(f"would remove {half} (0 kB): half-written" in shown for half in halves)
    assert sorted(Path().rglob("*")) == before


def test_nothing_else_is_touched(folder, capsys):
    """Another experiment, what is behind links, models, logs, a folder that is empty all along."""
    place = training()
    for other in ("results/other/student/seed1/progress/0123456789abcdef", "outside/seed1/progress/0123456789abcdef"):
        shutil.copytree(place, other)
    put("results/other/.x.tmp")
    Path("results/demo/linked").symlink_to(folder / "outside")
    Path("results/demo/student/seed2/progress").symlink_to(folder / "outside/seed1/progress")
    Path("results/demo/empty").mkdir()
    put("results/demo/student/seed1/logs/train.log")
    before = {path for path in Path().rglob("*") if path != place.parent and not path.is_relative_to(place)}
    cleaned(capsys, "seeds: [3]")
    assert set(Path().rglob("*")) == before - {place.parent}
    shutil.move("results/demo", "moved")
    Path("results/demo").symlink_to(folder / "moved")
    with pytest.raises(UserError, match="results/demo: is a link"):
        cleaned(capsys, "seeds: [3]")


def test_beside_a_controller_and_beside_a_step(folder, capsys):
    place, half = training(), put("results/demo/data/.bin.tmp/file")
    put_step(folder)
    put("workflow_scripts/recover.py", Path("workflow_scripts/train.py").read_text())
    with (
        running("workflow_scripts/recover.py") as process,
        pytest.raises(UserError, match=rf"Snakemake runs here, process {process.pid} on"),
    ):
        cleaned(capsys, "seeds: [3]")
    assert place.exists()
    with step():
        assert "half-written files stay, because train.py" in cleaned(capsys, "seeds: [3]")
    assert not place.exists()
    assert half.exists()
    cleaned(capsys)
    assert not half.parent.exists()


def test_command_line(folder):
    place = training()

    def call(config, *flags):
        command = [sys.executable, ROOT / "workflow_scripts/clean_stale.py", "--config", config, *flags]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    config = put("config.json", json.dumps(merged({"seeds": [3]})))
    assert f"would remove {place}" in call(config.read_text(), "--dry-run").stdout
    assert f"removed {place}" in call(f"@{config}").stdout
    assert call(f"@{config}").stdout == "results/demo: nothing is stale\n"
    run = call('{"experiment": "demo"}')
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1.0}, {"a": 1}, None),
        ({"a": True}, {"a": 1}, "a was True and is 1 now"),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, "a.c was 2 and is 3 now"),
        ({"a": 1}, {}, "a was 1 and is not set now"),
        ({}, {"a": None}, "a was not set and is None now"),
        ({"a": {}}, {"a": None}, "a was {} and is None now"),
    ],
)
def test_differences(old, new, reason):
    assert differences(old, new) == reason


def test_temporaries_are_hidden_and_end_in_tmp(tmp_path):
    (tmp_path / "a/.folder.tmp").mkdir(parents=True)
    for name in (".x.json.abc.tmp", "a/.folder.tmp/.inner.tmp", "a/x.tmp", "a/.x", "a/.y.part", "a/excluded/.z.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list(temporaries(tmp_path, {tmp_path / "a/excluded"}))
    assert found == [tmp_path / ".x.json.abc.tmp", tmp_path / "a/.folder.tmp"]


def test_sizes_and_removal_follow_no_link(tmp_path):
    outside = tmp_path / "outside"
    for folder in (outside, tmp_path / "a/b"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(1000))
    (tmp_path / "a/link").symlink_to(outside)
    assert size_of(tmp_path / "a") == 1000
    remove(tmp_path / "a")
    (tmp_path / "link").symlink_to(outside)
    assert size_of(tmp_path / "link") == 0
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "file").exists()
