"""A training that is interrupted in several ways resumes and ends with the same model."""

import json
import shutil
import time
from pathlib import Path

import pytest
from cluster_runs import Controller, digests, until

from project_copy import copy_project

OVERLAY = Path(__file__).with_name("long.yaml")
RUN = Path("results/long/student/seed1")
TRAINING = (str(RUN / "model.pt"), "--configfile", str(OVERLAY))
FILES = [str(RUN / name) for name in ("model.pt", "config.json")]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def projects(cluster, start, tmp_path_factory):
    """A project with a prepared corpus, and the same project after an uninterrupted training on this machine."""
    folder = tmp_path_factory.mktemp("controllers")
    corpus, trained = copy_project(folder / "corpus"), folder / "trained"
    made = start(corpus, "data", "--configfile", str(OVERLAY))
    assert made.wait() == 0, made.output()
    shutil.copytree(corpus, trained)
    done = start(trained, *TRAINING)
    assert done.wait() == 0, done.output()
    return corpus, trained


@pytest.fixture
def folder(projects, tmp_path):
    """A fresh project with the prepared corpus."""
    return Path(shutil.copytree(projects[0], tmp_path / "project"))


def attempts(folder: Path) -> list[dict]:
    """One record per start of the training: the update it resumed from, and the number of repeated updates."""
    found = [path.read_text(encoding="utf-8") for path in folder.glob(f"{RUN}/progress/*/attempts.jsonl")]
    return [json.loads(line) for text in found for line in text.splitlines()]


def until_checkpoint(folder: Path, controller: Controller, attempt: int) -> None:
    """Wait until an attempt (from 1) has saved a checkpoint."""

    def saved() -> bool:
        made = attempts(folder)
        paths = list(folder.glob(f"{RUN}/progress/*/checkpoint_last.pt"))
        return len(made) == attempt and bool(paths) and paths[0].stat().st_mtime > made[-1]["time"]

    until(saved, f"checkpoint of attempt {attempt}", controller)


def jobs(cluster, folder: Path) -> list[dict]:
    """The SLURM jobs of a folder."""
    return [job for job in cluster.jobs() if job["workdir"] == str(folder)]


def test_every_way_to_interrupt_a_job(cluster, start, folder, projects):
    # A checkpoint after each update: the training outlasts the 30 s between SLURM's checks of time limits.
    controller = start(folder, *TRAINING, "--config", "checkpoints={every_updates: 1}", cluster=cluster)

    until_checkpoint(folder, controller, 1)
    (first,) = jobs(cluster, folder)
    # the profile makes SLURM send SIGTERM 90 s before the limit, that is, now
    cluster.command("scontrol", "update", f"JobId={first['id']}", "TimeLimit=1")

    until_checkpoint(folder, controller, 2)
    cluster.command("scancel", jobs(cluster, folder)[-1]["id"])

    until_checkpoint(folder, controller, 3)
    cluster.command("scancel", "--signal=KILL", jobs(cluster, folder)[-1]["id"])

    until_checkpoint(folder, controller, 4)
    last = jobs(cluster, folder)[-1]["id"]
    cluster.command("scontrol", "requeue", last)

    until_checkpoint(folder, controller, 5)
    cluster.kill_slurmctld()
    time.sleep(5)
    cluster.start_slurmctld()

    assert controller.wait() == 0, controller.output()
    assert digests(folder, *FILES) == digests(projects[1], *FILES) != {}
    made = attempts(folder)
    updates = [attempt["update"] for attempt in made]
    assert len(made) == 5
    assert updates == sorted(set(updates)), "an attempt made no progress, or started before the last checkpoint"
    assert [attempt["repeated"] for attempt in made[:3]] == [0, 0, 0], "SIGTERM loses no updates"
    assert max(attempt["repeated"] for attempt in made) <= 1
    found = jobs(cluster, folder)
    assert [attempt["job"] for attempt in made] == [*(job["id"] for job in found), last]
    assert [job["state"] for job in found][1::2] == ["CANCELLED", "COMPLETED"]
    assert [job["restarts"] for job in found] == [0, 0, 0, 1]
    assert controller.output().count("Trying to restart") == 3


def test_the_next_controller_waits_for_an_orphaned_job(cluster, start, folder, projects):
    controller = start(folder, *TRAINING, cluster=cluster)
    until_checkpoint(folder, controller, 1)
    controller.kill()
    refused = start(folder, *TRAINING, cluster=cluster)
    assert refused.wait() == 1
    assert "Directory cannot be locked" in refused.output()
    unlock = start(folder, "--unlock", *TRAINING)
    assert unlock.wait() == 0, unlock.output()
    second = start(folder, *TRAINING, cluster=cluster)
    assert second.wait() == 0, second.output()
    assert digests(folder, *FILES) == digests(projects[1], *FILES) != {}
    assert [job["state"] for job in jobs(cluster, folder)] == ["COMPLETED", "COMPLETED"]
    made = attempts(folder)
    assert len({attempt["job"] for attempt in made}) == len(made)
    assert [attempt["repeated"] for attempt in made] == [0] * len(made), "two writers at once"


def test_recover_cancels_the_orphaned_job_and_resumes(cluster, start, folder, projects):
    controller = start(folder, *TRAINING, cluster=cluster)
    until_checkpoint(folder, controller, 1)
    (orphan,) = jobs(cluster, folder)
    controller.kill()
    second = start(folder, *TRAINING, cluster=cluster, recover=True)
    assert second.wait() == 0, second.output()
    assert digests(folder, *FILES) == digests(projects[1], *FILES) != {}
    assert f"SLURM job {orphan['id']}" in second.output()
    assert [job["state"] for job in jobs(cluster, folder)] == ["CANCELLED", "COMPLETED"]
    made = attempts(folder)
    assert [attempt["repeated"] for attempt in made] == [0, 0]
    assert made[1]["update"] > 0
