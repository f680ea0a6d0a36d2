"""Folders of unfinished work: whose they are, who works there, and what is found and removed."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from ekd_nmt.resume.work_folder import (
    holds_work,
    living_owner,
    progress_folders,
    read_job,
    remove,
    remove_if_empty,
    size_of,
    temporaries,
    write_job,
)
from left_behind import KEY, claim

JOB = {"work": "training", "options": {"system": "student"}, "seed": 1, "inputs": {"a/b.bin": "12ab"}}


def test_a_job_is_read_as_it_was_written(tmp_path):
    assert read_job(tmp_path) is None
    write_job(tmp_path, **(JOB | {"inputs": {Path("a/b.bin"): "12ab"}}))
    assert read_job(tmp_path) == JOB
    written = (tmp_path / "job.json").stat().st_ino
    write_job(tmp_path, **JOB)
    assert (tmp_path / "job.json").stat().st_ino == written, "a run that goes on need not write it"
    write_job(tmp_path, **(JOB | {"seed": None, "work": "caching"}))
    assert read_job(tmp_path) == JOB | {"seed": None, "work": "caching"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        *(json.dumps(JOB | change) for change in ({"work": "sleep"}, {"seed": "1"}, {"options": []}, {"inputs": 3})),
    ],
)
def test_a_damaged_job_is_none(tmp_path, content):
    (tmp_path / "job.json").write_text(content)
    assert read_job(tmp_path) is None


@pytest.mark.parametrize(
    ("owner", "lives"),
    [
        ({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}, True),
        ({"pid": 2**22 + 1, "host": socket.gethostname()}, False),
        # the number was given to a process that began later
        ({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time() - 10**6}, False),
        ({"host": "elsewhere"}, True),
    ],
)
def test_who_lives(tmp_path, owner, lives):
    place = claim(tmp_path / KEY, **owner)
    assert (living_owner(place) is not None) == lives


def test_one_of_elsewhere_that_gives_no_sign_of_life_is_dead(tmp_path):
    assert living_owner(claim(tmp_path / "a", silent=60))["pid"] == 7
    assert living_owner(claim(tmp_path / "b", silent=3600)) is None
    assert living_owner(tmp_path) is None
    (tmp_path / "a/owner.json").unlink()
    assert living_owner(tmp_path / "a") == {}, "it has a lock and has not said yet who it is"


def test_progress_folders_are_found_where_steps_put_them(tmp_path):
    run = tmp_path / "demo/student/seed1"
    found = [run / "cache/progress" / KEY, run / "progress" / KEY]
    others = [run / "progress/backup", tmp_path / "demo/student/notes/progress" / KEY, tmp_path / "demo/progress" / KEY]
    for folder in (*found, *others, tmp_path / "outside/seed1/progress" / KEY):
        folder.mkdir(parents=True)
    (tmp_path / "demo/linked").symlink_to(tmp_path / "outside")
    (run.parent / "seed2").symlink_to(run)
    (run.parent / "seed3").mkdir()
    (run.parent / "seed3/progress").symlink_to(run / "progress")
    (run.parent / "seed3/cache").symlink_to(run / "cache")
    (run / "progress" / KEY[::-1]).symlink_to(run / "progress" / KEY)
    assert sorted(progress_folders(tmp_path / "demo")) == found
    assert progress_folders(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("checkpoint_last.pt", True),
        ("cache/train.00000.npy", True),
        ("chunks/000001.jsonl", True),
        ("attempts.jsonl", False),
        (".checkpoint_last.pt.x.tmp", False),
        ("owner.json", False),
    ],
)
def test_what_counts_as_work(tmp_path, name, holds):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert holds_work(tmp_path) is holds


def test_temporaries_are_hidden_and_end_in_tmp(tmp_path):
    (tmp_path / "a/.folder.tmp").mkdir(parents=True)
    for name in (".x.json.abc.tmp", "a/.folder.tmp/.inner.tmp", "a/x.tmp", "a/.x", "a/.y.part", "a/spared/.z.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list(temporaries(tmp_path, {tmp_path / "a/spared"}))
    assert found == [tmp_path / ".x.json.abc.tmp", tmp_path / "a/.folder.tmp"]


def test_removing_says_how_much_it_was_and_follows_no_link(tmp_path):
    outside = tmp_path / "outside"
    for folder in (outside, tmp_path / "a/b"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(1000))
    (tmp_path / "a/link").symlink_to(outside)
    assert size_of(tmp_path / "a") == 1000
    assert remove(tmp_path / "a") == 1000
    (tmp_path / "link").symlink_to(outside)
    assert remove(tmp_path / "link") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "file").exists()


def test_empty_folders_go_up_to_the_first_that_is_not(tmp_path):
    (tmp_path / "demo/a/b/c").mkdir(parents=True)
    (tmp_path / "demo/d/e").mkdir(parents=True)
    (tmp_path / "demo/d/file").touch()
    remove_if_empty(tmp_path / "demo/a/b/c", tmp_path / "demo")
    remove_if_empty(tmp_path / "demo/d/e", tmp_path / "demo")
    assert sorted(path.name for path in (tmp_path / "demo").rglob("*")) == ["d", "file"]
    remove_if_empty(tmp_path / "empty", tmp_path)
