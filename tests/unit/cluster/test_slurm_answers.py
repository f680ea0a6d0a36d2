"""slurm/bin: how Snakemake's executor names its jobs, and what it hears when it asks SLURM how they are."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from project_copy import ROOT

BETWEEN = [ROOT / "slurm/bin" / name for name in ("sbatch", "sacct", "squeue")]
RUN = "ekd_3f2a9c01-5d7e-4b16-8a43-0c9e7d215f68"
ASKED = ["--noheader", "--format=JobIdRaw,State", "--name", RUN]
NAMED = "ekd_train_student_1_3f2a9c01"


def says(*lines: str) -> str:
    """The script of a command that prints these lines."""
    return "\n".join(f"echo '{line}'" for line in lines)


@pytest.fixture
def ask(tmp_path):
    """Call a command as Snakemake does, with a stand-in for the real one: a shell script."""

    def call(name: str, script: str | None, arguments: list[str], between=BETWEEN):
        real = tmp_path / "real"
        real.mkdir(exist_ok=True)
        if script is not None:
            (real / name).write_text(f"#!/bin/sh\n{script}\n")
            (real / name).chmod(0o755)
        path = os.pathsep.join([*map(str, between), str(real), os.environ["PATH"]])
        environment = os.environ | {"PATH": path}
        return subprocess.run(
            [name, *arguments], input="a script", capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    return call


@pytest.mark.parametrize("name", ["sacct", "squeue"])
def test_a_cancelled_job_is_cancelled(ask, name):
    rows = [f"7|CANCELLED by 1000|{NAMED}", f"8|COMPLETED|{NAMED}", f"9|RUNNING|{RUN}"]
    done = ask(name, says(*rows), ASKED)
    assert (done.returncode, done.stdout) == (0, "7|CANCELLED\n8|COMPLETED\n9|RUNNING\n")


@pytest.mark.parametrize("name", ["sacct", "squeue"])
def test_no_answer_is_no_news(ask, name):
    done = ask(name, f"echo '7|RUNNING|{NAMED}'; echo 'Unable to contact slurm controller' >&2; exit 1", ASKED)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Unable to contact slurm controller" in done.stderr
    assert ask(name, "true", ASKED).stdout == ""


def test_what_slurm_said_is_noted(ask, tmp_path):
    (tmp_path / ".snakemake/log").mkdir(parents=True)
    failing = "echo 'Unable to contact slurm controller' >&2; exit 1"
    assert (ask("sacct", failing, ASKED).stderr, ask("squeue", failing, ASKED).stderr) == ("", "")
    noted = (tmp_path / ".snakemake/log/slurm-answers.log").read_text()
    said = r"Unable to contact slurm controller\n[-\d]+ [:\d]+ {}: exit status 1 .*\n"
    assert re.fullmatch(said.format("sacct") + said.format("squeue"), noted)


def test_a_log_that_cannot_be_written_is_no_reason_not_to_ask(ask, tmp_path):
    (tmp_path / ".snakemake/log/slurm-answers.log").mkdir(parents=True)
    assert ask("sacct", says(f"7|RUNNING|{NAMED}"), ASKED).stdout == "7|RUNNING\n"


def test_jobs_of_a_run_are_found_among_the_users(ask):
    others = ["mine", "ekd_train_student_1_3f2a9c02", "other_train_student_1_3f2a9c01", "", "ekd_a|b"]
    rows = [f"{number}|RUNNING|{name}" for number, name in enumerate([*others, NAMED, "ekd_corpus_3f2a9c01"])]
    assert ask("sacct", says(*rows), ASKED).stdout == "5|RUNNING\n6|RUNNING\n"


@pytest.mark.parametrize(
    ("name", "columns", "asked"),
    [
        ("sacct", "JobIdRaw,State", "-X --format=JobIdRaw,State,JobName"),
        ("squeue", "%i|%T", "--me -X --format=%i|%T|%j"),
    ],
)
def test_the_question(ask, name, columns, asked):
    script = f"""[ "$*" = "{asked} --noheader" ] && echo '7|RUNNING|{NAMED}'"""
    assert ask(name, script, ["-X", f"--format={columns}", "--noheader", "--name", RUN]).stdout == "7|RUNNING\n"


def test_a_job_of_the_same_number_on_another_cluster_is_another_job(ask):
    rows = [f"7|RUNNING|{NAMED}", "7|COMPLETED|mine"]
    for order in (rows, rows[::-1]):
        assert ask("sacct", says(*order), ASKED).stdout == "7|RUNNING\n"


def test_the_report_on_efficiency_asks_for_steps_too(ask):
    rows = [
        f"7|{NAMED}|1|{NAMED}",
        "7.batch|batch|2|batch",
        "7.0|python|3|python",
        "8|mine|4|mine",
        "8.0|python|5|python",
    ]
    done = ask("sacct", says(*rows), [f"--name={RUN}", "--format=JobID,JobName,Elapsed"])
    assert done.stdout == f"7|{NAMED}|1\n7.batch|batch|2\n7.0|python|3\n"


@pytest.mark.parametrize(
    ("comment", "named"),
    [
        ("rule_train_wildcards_student_1", NAMED),
        ("rule_cache_teacher_wildcards_senior_teacher_1_top32", "ekd_cache_teacher_senior_teacher_1_top32_3f2a9c01"),
        ("rule_corpus_apply_bpe_binarize_collect", "ekd_corpus_3f2a9c01"),
        ("rule_fetch_wildcards_de,en $HOME '*", "ekd_fetch_de_en__HOME____3f2a9c01"),
        ("rule_" + "x" * 400, f"ekd_{'x' * 150}_3f2a9c01"),
        ("", "ekd_job_3f2a9c01"),
    ],
)
def test_a_job_is_named_for_what_it_does(ask, comment, named):
    given = ["--parsable", "--job-name", RUN, "--comment", comment, "-t", "20", "--wrap", 'python -c "a  b" --name x']
    done = ask("sbatch", """printf '%s\n' "$@"; cat; exit 4""", given)
    assert done.returncode == 4
    assert done.stdout.splitlines() == ["--job-name", named, *given[:1], *given[3:], "a script"]


def test_variables_of_the_user_reach_the_jobs_as_they_are(ask, monkeypatch):
    names = ("name", "path", "run", "number", "first", "last", "option", "left", "comment", "what", "command", "before")
    for name in names:
        monkeypatch.setenv(name, "mine")
    done = ask("sbatch", "env", ["--job-name", RUN, "--comment", "rule_train"])
    assert {f"{name}=mine" for name in names} <= set(done.stdout.splitlines())


def test_jobs_of_others_keep_their_names(ask):
    done = ask("sbatch", """printf '%s\n' "$@" """, ["--job-name", "mine", "--comment", "rule_train", "a.sh"])
    assert done.stdout.splitlines() == ["--job-name", "mine", "--comment", "rule_train", "a.sh"]


def test_a_command_that_hangs_is_no_news(ask, monkeypatch):
    monkeypatch.setenv("EKD_ANSWER_SECONDS", "0.2")
    done = ask("sacct", f"echo '7|COMPLETED|{NAMED}'; exec sleep 60", ASKED)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_lost_node_is_left_to_slurm(ask):
    done = ask("sacct", "echo 'None assigned'", ["-j", "7", "-n", "-X", "-o", "nodelist%-256"])
    assert (done.returncode, done.stdout) == (0, "")


def test_the_executor_still_asks_as_it_did():
    """These are its words in the version that is installed; slurm/bin knows the questions by them."""
    import snakemake_executor_plugin_slurm as plugin
    from snakemake_executor_plugin_slurm.job_status_query import query_job_status_sacct, query_job_status_squeue
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command

    assert "-n -X -o nodelist%-256" in Path(plugin.__file__).read_text(encoding="utf-8")
    for query in (query_job_status_sacct, query_job_status_squeue):
        words = shlex.split(query("run"))
        assert words[words.index("--name") + 1] == "run"
        assert len([word for word in words if word.startswith("--format=")]) == 1
    assert "--parsable2" in query_job_status_sacct("run")
    job = SimpleNamespace(resources={}, threads=1)
    call = {"run_uuid": RUN, "comment_str": "rule_train", "slurm_logfile": "x", "account": "", "partition": ""}
    words = shlex.split(get_submit_command(job, call | {"workdir": ""}))
    assert words[words.index("--job-name") + 1] == RUN
    assert words[words.index("--comment") + 1] == "rule_train"


@pytest.mark.parametrize("spelled", ["{}/../{}", "{}/../{}/", "{}/.././{}"])
def test_the_real_command_is_found_however_the_path_is_spelled(ask, spelled):
    between = [spelled.format(folder, folder.name) for folder in BETWEEN]
    assert ask("sacct", says(f"7|RUNNING|{NAMED}"), ASKED, between).stdout == "7|RUNNING\n"
    assert ask("sbatch", "echo it", ["a.sh"], between).stdout == "it\n"


@pytest.mark.parametrize("name", ["sacct", "squeue", "sbatch"])
def test_without_the_real_command_there_is_none(ask, name, tmp_path, monkeypatch):
    bare = tmp_path / "bare"
    bare.mkdir()
    for tool in ("sh", "sed", "tr", "cut", "awk", "timeout", "date"):
        (bare / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(bare))
    done = ask(name, None, ["--version"])
    assert (done.returncode, done.stdout) == (127, "")


def test_other_calls_go_to_the_real_command(ask):
    done = ask("sacct", 'echo "7|CANCELLED by 1000 $1"; exit 3', ["a b"])
    assert (done.returncode, done.stdout) == (3, "7|CANCELLED by 1000 a b\n")
