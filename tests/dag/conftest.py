"""Copies of the project for the dry-runs: a fresh clone, and one with everything built by stand-ins."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from workflow_runs import put_stand_ins, snakemake

from project_copy import copy_project

BUILDS = (
    [],
    ["data", "--configfile", "config/multi30k.yaml"],
    ["data", "--configfile", "config/tatoeba.yaml"],
)


@pytest.fixture(scope="session")
def fresh_clone(tmp_path_factory):
    """A clone of the project, and the text that config/local.yaml names. Only for dry-runs."""
    clone = copy_project(tmp_path_factory.mktemp("fresh") / "clone")
    for path in yaml.safe_load((clone / "config/local.yaml").read_text())["data"]["local"]["train"]:
        (clone / path).parent.mkdir(exist_ok=True)
        (clone / path).touch()
    return clone


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory):
    """A project in which stand-ins have built the default workflow and the data of Multi30k and Tatoeba.

    It is built once, also for several pytest-xdist workers. Tests that change it use ``project``, a copy.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, mark = shared / "finished", shared / "finished.done"
    with FileLock(shared / "finished.lock"):
        if not mark.exists():
            shutil.rmtree(folder, ignore_errors=True)
            put_stand_ins(copy_project(folder))
            for arguments in BUILDS:
                run = snakemake(folder, "--cores", "2", "--scheduler", "greedy", *arguments)
                assert run.returncode == 0, run.stderr
            mark.touch()
    return folder


class Project:
    """A finished project that a test may change, in another folder than it was built in."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config_file = folder / "config/config.yaml"

    def edit(self, changes: dict[str, object], config_file: str = "config/config.yaml") -> None:
        """Rewrite a configuration file: dotted keys and their new values; None removes a key."""
        path = self.folder / config_file
        config = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            *parents, last = key.split(".")
            place = config
            for parent in parents:
                place = place.setdefault(parent, {})
            if value is None:
                del place[last]
            else:
                place[last] = value
        path.write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture
def project(finished_project, tmp_path):
    shutil.copytree(finished_project, tmp_path / "moved", ignore=shutil.ignore_patterns("__pycache__", "log"))
    return Project(tmp_path / "moved")
