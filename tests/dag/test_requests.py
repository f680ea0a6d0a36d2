"""Resource requests of the jobs of the real Snakefile, in a fresh clone and in a finished project."""

import pytest
from expected_jobs import NOTHING
from workflow_runs import dry_run, snakemake

from configurations import PRESETS, SYSTEMS
from ekd_nmt.cluster.rule_table import RULES

pytestmark = pytest.mark.dag

WITH_GPU = {name for name, rule in RULES.items() if rule.gpu}


def requests(folder, *arguments):
    """Rule and resources of each planned job."""
    run = snakemake(folder, "-n", "--forceall", *arguments)
    assert run.returncode == 0, run.output
    assert len(run.resources) >= 45
    return run.resources


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_job_requests_memory_and_time_and_three_rules_a_gpu(fresh_clone, preset):
    for rule, resources in requests(fresh_clone, "--configfile", f"config/{preset.name}"):
        assert type(resources["mem_mb"]) is type(resources["runtime"]) is int, (rule, resources)
        assert "<TBD>" not in resources.values(), (rule, resources)
        assert resources.get("gpu") == (1 if rule in WITH_GPU else None), (rule, resources)


def test_training_on_several_gpus_is_one_job(fresh_clone):
    jobs = requests(fresh_clone, "--config", "training={gpus: 2}")
    trainings = [resources for rule, resources in jobs if rule == "train"]
    assert [(each["gpu"], each["nodes"]) for each in trainings] == [(2, 1)] * len(SYSTEMS)
    assert {each["gpu"] for rule, each in jobs if rule in WITH_GPU - {"train"}} == {1}
    jobs = requests(fresh_clone, "--config", "systems={senior_teacher: {gpus: 2, nodes: 3}}")
    asked = sorted((each["gpu"], each["nodes"]) for rule, each in jobs if rule == "train")
    assert asked == [(1, 1)] * (len(SYSTEMS) - 1) + [(6, 3)]
    # then Snakemake's executor for SLURM leaves srun to the training
    special = [{name: each.get(name) for name in ("mpi", "tasks", "tasks_per_gpu")} for _, each in jobs]
    assert [each for each in special if any(value is not None for value in each.values())] == [
        {"mpi": "srun", "tasks": 3, "tasks_per_gpu": 0}
    ]


def test_no_gpu_is_requested_on_a_cluster_without(fresh_clone):
    jobs = requests(fresh_clone, "--config", "cluster={request_gpus: false, max_runtime: 15}")
    assert not [rule for rule, resources in jobs if "gpu" in resources]
    assert max(resources["runtime"] for _, resources in jobs) == 15


@pytest.mark.parametrize("cluster", ["{request_gpus: false}", "{max_runtime: 30}"])
def test_changed_requests_rerun_nothing(project, cluster):
    assert dry_run(project.folder, "--config", f"cluster={cluster}") == NOTHING


def test_changed_estimates_rerun_nothing(project):
    module = project.folder / "workflow_scripts/ekd_nmt/cluster/resource_estimates.py"
    module.write_text(module.read_text().replace("IMPORTS = 550", "IMPORTS = 5500"))
    assert "IMPORTS = 5500" in module.read_text()
    assert dry_run(project.folder) == NOTHING
