"""What a user of Snakemake sees of the configuration: mistakes stop it, each in one line; warnings are shown once."""

import re

import pytest
from workflow_runs import snakemake

pytestmark = pytest.mark.dag
WARNING = "warning: table.senior: 'nobody' is not one of systems; column gap_to_senior stays empty"

# What all the messages say is tested without Snakemake; here, that each kind of check stops it.
MISTAKES = {
    "unknown key": ("bpe: {merge: 100}", "bpe.merge:"),
    "wrong value": ("training: {lr: -1}", "training.lr:"),
    "unknown teacher": ("systems: {junior_student: {teacher: juniorteacher}}", "systems.junior_student.teacher:"),
    "another architecture": ("systems: {master_student: {init: junior_teacher}}", "systems.master_student.init:"),
    "several": ("{trainig: {lr: 1}, seeds: []}", "seeds: is empty; name at least one | trainig:"),
}


def run_with(fresh_clone, folder, overlay, *arguments):
    path = folder / "overlay.yaml"
    path.write_text(overlay, encoding="utf-8")
    return snakemake(fresh_clone, "-n", *arguments, "--configfile", path)


@pytest.mark.parametrize(("overlay", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_in_a_file_is_told_in_one_line(fresh_clone, tmp_path, overlay, message):
    assert_told_in_one_line(run_with(fresh_clone, tmp_path, overlay), message)


def test_mistake_on_the_command_line_is_told_in_one_line(fresh_clone):
    assert_told_in_one_line(snakemake(fresh_clone, "-n", "--config", "decoding={beam: 0}"), "decoding.beam:")


def assert_told_in_one_line(run, message):
    assert run.returncode == 1
    assert len(re.findall(rf"^configuration: {re.escape(message)} .+$", run.output, re.MULTILINE)) == 1
    assert run.output.count(message) == 1
    assert "Traceback" not in run.output
    assert not run.jobs


def test_warnings_are_shown_once(fresh_clone, tmp_path):
    run = run_with(fresh_clone, tmp_path, "table: {senior: nobody}")
    assert run.returncode == 0, run.output
    assert run.output.splitlines().count(WARNING) == 1
    assert "warnings.warn" not in run.output


def test_jobs_do_not_repeat_them(fresh_clone, tmp_path):
    # as Snakemake calls itself for each job
    run = run_with(fresh_clone, tmp_path, "table: {senior: nobody}", "--mode", "subprocess")
    assert run.returncode == 0, run.output
    assert WARNING not in run.output


def announced(run):
    assert run.returncode == 0, run.output
    return [line for line in run.stderr.splitlines() if line.startswith("teacher caches: ")]


def test_dry_run_tells_once_how_large_the_teacher_caches_are(fresh_clone):
    assert announced(snakemake(fresh_clone, "-n")) == [
        "teacher caches: 3, about 60 MB in all, an estimate "
        "(6,000 + 200 pairs x about 25 target tokens x 130 bytes x 3)"
    ]
    assert announced(snakemake(fresh_clone, "-n", "--configfile", "config/local.yaml")) == [
        "teacher caches: 3, their size is known once the corpus is binarised (target tokens x 130 bytes x 3)"
    ]
    assert announced(snakemake(fresh_clone, "-n", "--config", "distillation={teacher_mode: online}")) == []


def test_only_the_dry_run_of_a_user_tells_it(fresh_clone):
    assert announced(snakemake(fresh_clone, "-n", "--mode", "subprocess")) == []
    assert announced(snakemake(fresh_clone, "--dag")) == []


def test_numbers_given_on_the_command_line(fresh_clone):
    run = snakemake(fresh_clone, "-n", "--config", "seeds=[1, 2]", "training={dropout: 0.2}")
    assert run.returncode == 0, run.output
    assert {job[-1] for job in run.jobs if job[0] == "train"} == {"1", "2"}
