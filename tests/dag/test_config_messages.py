"""Mistakes in the configuration stop Snakemake with one line each; warnings are printed once."""

import re

import pytest
from workflow_runs import snakemake

pytestmark = pytest.mark.dag
WARNING = "warning: table.senior: 'nobody' is not one of systems; column gap_to_senior stays empty"


def run_with(fresh_clone, folder, overlay, *arguments):
    path = folder / "overlay.yaml"
    path.write_text(overlay, encoding="utf-8")
    return snakemake(fresh_clone, "-n", *arguments, "--configfile", path)


# tests/unit/config has the messages themselves
@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("{trainig: {lr: 1}, seeds: []}", "seeds: is empty; name at least one | trainig:"),
        ("systems: {junior_student: {teacher: juniorteacher}}", "systems.junior_student.teacher:"),
        ("data: {corpus: local, local: {train: [none.tsv]}}", "data.local.train:"),
    ],
    ids=["several", "reference", "missing file"],
)
def test_mistake_prints_one_line(fresh_clone, tmp_path, overlay, message):
    assert_one_line(run_with(fresh_clone, tmp_path, overlay), message)
    assert_one_line(run_with(fresh_clone, tmp_path, overlay, "--quiet", "all"), message)


def test_mistake_on_the_command_line_prints_one_line(fresh_clone):
    assert_one_line(snakemake(fresh_clone, "-n", "--config", "decoding={beam: 0}"), "decoding.beam:")


def assert_one_line(run, message):
    assert run.returncode == 1
    assert not run.jobs
    line, *others = [line for line in run.output.splitlines() if not line.startswith("Config file ")]
    assert re.fullmatch(rf"configuration: {re.escape(message)} .+", line)
    assert not others


def test_inherited_values_of_the_demo_are_reported_once(fresh_clone, tmp_path):
    overlay = "{experiment: my, data: {lowercase: true}, bpe: {merges: 9}}"
    run = run_with(fresh_clone, tmp_path, overlay)
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("warning: from config/config.yaml")]
    assert ", models, training.max_epoch, training.lr, " in line
    assert not {"bpe", "bpe.merges", "data.lowercase"} & set(re.split("[:,] ", line))
    assert "warning" not in run_with(fresh_clone, tmp_path, overlay, "--mode", "subprocess").output


def test_warnings_are_shown_once_and_not_repeated_by_jobs(fresh_clone, tmp_path):
    run = run_with(fresh_clone, tmp_path, "table: {senior: nobody}")
    assert run.returncode == 0, run.output
    assert run.output.splitlines().count(WARNING) == 1
    assert "warnings.warn" not in run.output
    # as Snakemake calls itself for each job
    run = run_with(fresh_clone, tmp_path, "table: {senior: nobody}", "--mode", "subprocess")
    assert run.returncode == 0, run.output
    assert WARNING not in run.output


def announced(run):
    assert run.returncode == 0, run.output
    return [line for line in run.stderr.splitlines() if line.startswith("teacher caches: ")]


def test_dry_run_prints_the_size_of_the_teacher_caches_once(fresh_clone):
    assert announced(snakemake(fresh_clone, "-n")) == [
        "teacher caches: 3, about 36 MB in all, an estimate (90,000 + 3,000 target tokens x 130 bytes x 3)"
    ]
    assert announced(snakemake(fresh_clone, "-n", "--configfile", "config/local.yaml")) == [
        "teacher caches: 3, about 5 MB in all, an estimate (25 + 12,500 target tokens x 130 bytes x 3)"
    ]
    assert announced(snakemake(fresh_clone, "-n", "--config", "distillation={teacher_mode: online}")) == []

    # only the dry-run of a user prints it
    assert announced(snakemake(fresh_clone, "-n", "--mode", "subprocess")) == []
    assert announced(snakemake(fresh_clone, "--dag")) == []
