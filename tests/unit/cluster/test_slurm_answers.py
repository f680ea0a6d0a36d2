"""slurm/bin: the answers of SLURM that Snakemake's executor plugin cannot handle."""

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from project_copy import ROOT

FIX = ROOT / "slurm/bin/fix_slurm_answers"
FOLDERS = [ROOT / "slurm/bin" / name for name in ("sacct", "squeue")]
QUESTIONS = {"sacct": ["--format=JobIdRaw,State", "--name", "run"], "squeue": ["--format=%i|%T", "--name", "run"]}
NODE = ["-j", "7", "-n", "-X", "-o", "nodelist%-256"]
BOTH = pytest.mark.parametrize("command", QUESTIONS)


@pytest.fixture
def ask(tmp_path):
    """Call a command as the plugin does, with a shell script in place of the real one."""

    def call(command: str, script: str | None, arguments: list[str], folders=FOLDERS):
        real = tmp_path / "real"
        real.mkdir(exist_ok=True)
        if script is not None:
            (real / command).write_text(f"#!/bin/sh\n{script}\n")
            (real / command).chmod(0o755)
        path = os.pathsep.join([*map(str, folders), str(real), os.environ["PATH"]])
        return subprocess.run(
            [command, *arguments], capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PATH": path}
        )

    return call


def test_the_plugin_is_the_version_that_was_looked_at():
    named = re.search(r"snakemake-executor-plugin-slurm ([\d.]+\d)", FIX.read_text(encoding="utf-8"))[1]
    installed = importlib.metadata.version("snakemake-executor-plugin-slurm")
    assert installed == named, f"see which faults of {FIX.name} version {installed} still has, and name it there"


def test_the_plugin_asks_the_questions_that_are_recognised():
    import snakemake_executor_plugin_slurm as plugin
    from snakemake_executor_plugin_slurm.job_status_query import query_job_status_sacct, query_job_status_squeue

    assert " ".join(NODE[2:]) in Path(plugin.__file__).read_text(encoding="utf-8")
    for query in (query_job_status_sacct, query_job_status_squeue):
        command, *words = shlex.split(query("run"))
        assert set(QUESTIONS[command]) <= set(words)
    assert "--parsable2" in query_job_status_sacct("run")


@BOTH
def test_a_cancelled_job_is_cancelled_and_an_error_is_an_empty_answer(ask, command):
    rows = "7|CANCELLED by 1000\n8|COMPLETED\n9|RUNNING\n"
    done = ask(command, f"printf '{rows}'", QUESTIONS[command])
    assert (done.returncode, done.stdout) == (0, rows.replace(" by 1000", ""))
    done = ask(command, "echo '7|RUNNING'; echo 'Unable to contact slurm controller' >&2; exit 1", QUESTIONS[command])
    assert (done.returncode, done.stdout) == (0, "")
    assert "Unable to contact slurm controller" in done.stderr


@BOTH
def test_no_answer_in_time_is_an_empty_answer(ask, command, monkeypatch):
    monkeypatch.setenv("EKD_ANSWER_SECONDS", "0.2")
    done = ask(command, "echo '7|COMPLETED'; exec sleep 60", QUESTIONS[command])
    assert (done.returncode, done.stdout) == (0, "")


def test_a_lost_node_is_left_to_slurm(ask):
    done = ask("sacct", "echo 'None assigned'", NODE)
    assert (done.returncode, done.stdout) == (0, "")


def test_errors_are_logged(ask, tmp_path):
    (tmp_path / ".snakemake/log").mkdir(parents=True)
    for command, question in QUESTIONS.items():
        assert ask(command, "echo 'Unable to contact slurm controller' >&2; exit 1", question).stderr == ""
    log = (tmp_path / ".snakemake/log/slurm-answers.log").read_text()
    entry = r"Unable to contact slurm controller\n[-\d]+ [:\d]+ {}: exit status 1 .*\n"
    assert re.fullmatch("".join(entry.format(command) for command in QUESTIONS), log)


def test_an_unwritable_log_prevents_no_question(ask, tmp_path):
    (tmp_path / ".snakemake/log/slurm-answers.log").mkdir(parents=True)
    assert ask("sacct", "echo '7|RUNNING'", QUESTIONS["sacct"]).stdout == "7|RUNNING\n"


@BOTH
def test_arguments_and_other_calls_arrive_unchanged(ask, command):
    question = [*QUESTIONS[command], "a b", "*"]
    assert ask(command, """printf '%s\n' "$@" """, question).stdout.splitlines() == question
    done = ask(command, 'echo "7|CANCELLED by 1000 $1"; exit 3', ["a b"])
    assert (done.returncode, done.stdout) == (3, "7|CANCELLED by 1000 a b\n")


@pytest.mark.parametrize("spelled", ["{}/../{}", "{}/../{}/", "{}/.././{}"])
def test_the_real_command_is_found_however_the_path_is_spelled(ask, spelled):
    folders = [spelled.format(folder, folder.name) for folder in FOLDERS]
    assert ask("sacct", "echo '7|RUNNING'", QUESTIONS["sacct"], folders).stdout == "7|RUNNING\n"


@BOTH
def test_without_the_real_command_there_is_none(ask, command, tmp_path, monkeypatch):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "sh").symlink_to(shutil.which("sh"))
    monkeypatch.setenv("PATH", str(bare))
    done = ask(command, None, ["--version"])
    assert (done.returncode, done.stdout) == (127, "")
