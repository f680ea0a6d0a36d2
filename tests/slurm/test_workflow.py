"""The real workflow and profile on a cluster: the same nine rows as on one machine, with as few jobs as possible."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml
from cluster_runs import digests, table, until

from project_copy import ROOT, copy_project

OVERLAY = ROOT / "tests/e2e/miniature.yaml"
RESULTS = ("model.pt", "test.hyp.jsonl", "scores.json", "config.json", "examples.txt")
ON_GPU = ("train", "cache_teacher", "translate")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(cluster, start, tmp_path_factory):
    """A run on the cluster and one without: folders, output of a second controller, and the queue of the first."""
    folder = tmp_path_factory.mktemp("runs")
    there, here = copy_project(folder / "cluster"), copy_project(folder / "local")
    local = start(here, "--configfile", str(OVERLAY))
    first = start(there, "--configfile", str(OVERLAY), cluster=cluster)
    until(lambda: cluster.jobs(), "job", first)
    second = start(there, "--configfile", str(OVERLAY), cluster=cluster)
    status = second.wait()
    listed = subprocess.run(
        ["make", "--no-print-directory", "-f", ROOT / "Makefile", "queue"],
        cwd=there,
        env=cluster.environment,
        capture_output=True,
        text=True,
    )
    assert first.wait() == 0, first.output()
    assert local.wait() == 0, local.output()
    return {"there": there, "here": here, "second": (status, second.output()), "queue": listed, "first": first.output()}


@pytest.fixture(scope="module")
def jobs(runs, cluster):
    return cluster.jobs()


def kind(job: dict) -> str:
    """The rule of a job from its comment, such as ``rule_score_wildcards_student_1``."""
    return job["comment"].removeprefix("rule_").partition("_wildcards_")[0]


def test_nine_rows_as_on_one_machine(runs):
    systems = list(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["systems"])
    rows = table(runs["there"] / "results/bleu_table.csv")
    assert [row["system"] for row in rows] == systems
    assert len(systems) == 9
    assert rows == table(runs["here"] / "results/bleu_table.csv")


def test_models_hypotheses_and_scores_are_the_same_to_the_byte(runs):
    patterns = [f"results/miniature/*/seed1/{name}" for name in RESULTS]
    found = digests(runs["there"], *patterns)
    assert len(found) == 9 * len(RESULTS)
    assert found == digests(runs["here"], *patterns)
    corpus = digests(runs["there"], "results/miniature/data/bin/*", "results/miniature/data/bpe/*.??")
    assert len(corpus) > 15
    assert corpus == digests(runs["here"], "results/miniature/data/bin/*", "results/miniature/data/bpe/*.??")


def test_only_jobs_with_models_run_on_gpus(jobs):
    wanted = {job["comment"]: (job["gpus"], job["partition"]) for job in jobs}
    on_gpu = {comment: want for comment, want in wanted.items() if comment.removeprefix("rule_").startswith(ON_GPU)}
    assert set(on_gpu.values()) == {(1, "gpu")}
    assert {want for comment, want in wanted.items() if comment not in on_gpu} == {(0, "cpu")}


def test_a_table_needs_one_job_for_the_corpus_and_one_per_model_step(jobs):
    kinds = Counter("corpus" if job["comment"].startswith("rule_corpus") else kind(job) for job in jobs)
    assert kinds == {"corpus": 1, "train": 9, "cache_teacher": 3, "translate": 9}


def test_comments_name_rule_system_and_seed(jobs):
    comments = {job["comment"] for job in jobs}
    assert "rule_train_wildcards_senior_student_matched_1" in comments
    assert "rule_translate_wildcards_master_student_1" in comments
    assert "rule_cache_teacher_wildcards_senior_teacher_1_top32" in comments


def test_jobs_request_time_and_memory_and_can_be_requeued(jobs):
    for job in jobs:
        assert job["time_limit"] != "1-00:00:00", "the partition's limit, not the job's"
        assert job["all"]["MinMemoryNode"].endswith(("M", "G"))
        assert job["all"]["Requeue"] == "1"


def test_queue_shows_the_job_of_this_folder(runs):
    queue = runs["queue"]
    assert queue.returncode == 0, queue.stderr
    header, *lines = queue.stdout.splitlines()
    assert header.split()[:3] == ["JOBID", "ST", "TIME"]
    assert [line.split()[-1] for line in lines] == ["corpus"]


def test_a_second_controller_explains_why_it_does_not_start(runs):
    status, output = runs["second"]
    assert status == 1
    assert "Directory cannot be locked" in output
    assert "unlock" in output


def test_logs_of_successful_jobs_and_temporary_files_are_removed(runs):
    assert not list(Path(runs["there"], "results").glob("slurm-logs/**/*.log"))
    assert not list(Path(runs["there"], "results").rglob("*.tmp"))
    assert not os.path.lexists(runs["there"] / ".snakemake/slurm_logs")
