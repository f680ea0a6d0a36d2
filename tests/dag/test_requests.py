"""What the jobs of the real Snakefile ask for, in a fresh clone and when everything is built."""

import re

import pytest
from expected_jobs import NOTHING
from workflow_runs import dry_run, snakemake

from configurations import PRESETS, SYSTEMS

pytestmark = pytest.mark.dag

WITH_GPU = {"train", "cache_teacher", "translate"}


def requests(folder, *arguments):
    """Rule and resources of each job that a dry-run plans."""
    run = snakemake(folder, "-n", "--forceall", *arguments)
    assert run.returncode == 0, run.output
    assert len(run.resources) >= 45
    return run.resources


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_job_asks_for_memory_and_time_and_three_rules_for_a_gpu(fresh_clone, preset):
    for rule, resources in requests(fresh_clone, "--configfile", f"config/{preset.name}"):
        assert type(resources["mem_mb"]) is type(resources["runtime"]) is int, (rule, resources)
        assert "<TBD>" not in resources.values(), (rule, resources)
        assert resources.get("gpu") == (1 if rule in WITH_GPU else None), (rule, resources)


def test_a_training_on_several_gpus_is_one_job_that_asks_for_all_of_them(fresh_clone):
    jobs = requests(fresh_clone, "--config", "training={gpus: 2}")
    trainings = [resources for rule, resources in jobs if rule == "train"]
    assert [(each["gpu"], each["nodes"]) for each in trainings] == [(2, 1)] * len(SYSTEMS)
    assert {each["gpu"] for rule, each in jobs if rule in WITH_GPU - {"train"}} == {1}
    jobs = requests(fresh_clone, "--config", "systems={senior_teacher: {gpus: 2, nodes: 3}}")
    asked = sorted((each["gpu"], each["nodes"]) for rule, each in jobs if rule == "train")
    assert asked == [(1, 1)] * (len(SYSTEMS) - 1) + [(6, 3)]
    # what Snakemake's executor for SLURM needs to leave srun to the training
    special = [{name: each.get(name) for name in ("mpi", "tasks", "tasks_per_gpu")} for _, each in jobs]
    assert [each for each in special if any(value is not None for value in each.values())] == [
        {"mpi": "srun", "tasks": 3, "tasks_per_gpu": 0}
    ]


def test_a_cluster_without_gpus_is_asked_for_none(fresh_clone):
    jobs = requests(fresh_clone, "--config", "cluster={request_gpus: false, max_runtime: 15}")
    assert not [rule for rule, resources in jobs if "gpu" in resources]
    assert max(resources["runtime"] for _, resources in jobs) == 15


def test_downloads_scores_and_tables_are_made_where_snakemake_runs(fresh_clone):
    """A dry-run does not tell. What the profile groups must not be among them, or the groups would fall apart."""
    words = re.search(r"^localrules:\n((?:    \w+,\n)+)", (fresh_clone / "Snakefile").read_text(), re.MULTILINE)[1]
    assert set(re.findall(r"\w+", words)) == {"all", "data", "models", "fetch", "score", "bleu_table", "cost_table"}


@pytest.mark.parametrize("cluster", ["{request_gpus: false}", "{max_runtime: 30}"])
def test_other_requests_make_nothing_run_again(project, cluster):
    assert dry_run(project.folder, "--config", f"cluster={cluster}") == NOTHING


def test_other_estimates_make_nothing_run_again(project):
    module = project.folder / "workflow_scripts/ekd_nmt/cluster/resource_estimates.py"
    module.write_text(module.read_text().replace("IMPORTS = 550", "IMPORTS = 5500"))
    assert "IMPORTS = 5500" in module.read_text()
    assert dry_run(project.folder) == NOTHING
