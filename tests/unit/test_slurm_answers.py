"""slurm/bin: what Snakemake's executor hears when it asks SLURM how its jobs are."""

import os
import subprocess
from pathlib import Path

import pytest

from project_copy import ROOT

FOLDER = ROOT / "slurm/bin"
ASKED = ["--noheader", "--format=JobIdRaw,State", "--name", "ekd_1"]


@pytest.fixture
def ask(tmp_path):
    """Call a command as Snakemake does, with a stand-in for the real one: a shell script."""

    def call(name: str, script: str, arguments: list[str]) -> subprocess.CompletedProcess:
        real = tmp_path / "real"
        real.mkdir(exist_ok=True)
        (real / name).write_text(f"#!/bin/sh\n{script}\n")
        (real / name).chmod(0o755)
        path = os.pathsep.join([str(FOLDER), str(real), os.environ["PATH"]])
        return subprocess.run([name, *arguments], capture_output=True, text=True, env=os.environ | {"PATH": path})

    return call


@pytest.mark.parametrize("name", ["sacct", "squeue"])
def test_a_cancelled_job_is_cancelled(ask, name):
    done = ask(name, "printf '7|CANCELLED by 1000\\n8|COMPLETED\\n9|RUNNING\\n'", ASKED)
    assert (done.returncode, done.stdout) == (0, "7|CANCELLED\n8|COMPLETED\n9|RUNNING\n")


@pytest.mark.parametrize("name", ["sacct", "squeue"])
def test_no_answer_is_no_news(ask, name):
    done = ask(name, "echo half an answer; echo 'Unable to contact slurm controller' >&2; exit 1", ASKED)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Unable to contact slurm controller" in done.stderr
    assert ask(name, "true", ASKED).stdout == ""


def test_a_command_that_hangs_is_no_news(ask, monkeypatch):
    monkeypatch.setenv("EKD_ANSWER_SECONDS", "0.2")
    done = ask("sacct", "echo '7|COMPLETED'; exec sleep 60", ASKED)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_lost_node_is_left_to_slurm(ask):
    done = ask("sacct", "echo 'None assigned'", ["-j", "7", "-n", "-X", "-o", "nodelist%-256"])
    assert (done.returncode, done.stdout) == (0, "")


def test_the_executor_still_asks_as_it_did():
    """These are its words in the version that is installed; slurm/bin knows the questions by them."""
    import snakemake_executor_plugin_slurm as plugin
    from snakemake_executor_plugin_slurm.job_status_query import query_job_status_sacct, query_job_status_squeue

    assert "-n -X -o nodelist%-256" in Path(plugin.__file__).read_text(encoding="utf-8")
    for query in (query_job_status_sacct, query_job_status_squeue):
        assert " --name run" in query("run")
    assert "--parsable2" in query_job_status_sacct("run")


def test_other_calls_go_to_the_real_command(ask):
    done = ask("sacct", 'echo "7|CANCELLED by 1000 $1"; exit 3', ["a b"])
    assert (done.returncode, done.stdout) == (3, "7|CANCELLED by 1000 a b\n")
