"""The real Snakefile in a fresh clone, without data or network: presets, targets, requests, lint, graphs."""

import re

import pytest
from expected_jobs import MODELS, NOTHING, TEACHERS, cached, evaluated
from workflow_runs import dry_run, snakemake

from configurations import PRESETS, SYSTEMS
from ekd_nmt.cluster.rule_table import RULES
from ekd_nmt.config.manifest import load_manifest
from ekd_nmt.config.types import SPLITS
from project_copy import ROOT

pytestmark = pytest.mark.dag

ALWAYS = {
    *((rule,) for rule in ("shard_corpus", "join_shards", "join_bpe_shards", "learn_bpe", "binarize", "data_report")),
    *((rule, split) for rule in ("prepare", "apply_bpe") for split in ("valid", "test")),
}
DATASETS = load_manifest(ROOT / "config/datasets.yaml")
SHARDED = ("prepare_shard", "apply_bpe_shard")
MULTI30K_FILES = [f"{split}.{side}.gz" for split in ("train", "val", "test_2016_flickr") for side in ("de", "en")]
ACQUIRED = {
    "config.yaml": {("generate",)},
    "multi30k.yaml": {("fetch", "multi30k", file) for file in MULTI30K_FILES}
    | {("collect", split) for split in SPLITS},
    "iwslt14.yaml": {("fetch", "iwslt14", "de-en.tgz"), ("unpack_iwslt14",)},
    "tatoeba.yaml": {("fetch", "tatoeba", "deu-eng.zip"), ("collect", "all"), ("split",)},
    "local.yaml": {("collect", "all"), ("split",)},
    **{
        f"{name}.yaml": {("fetch", name, file.name) for file in DATASETS[name].files}
        | {("collect", split) for split in SPLITS}
        for name in ("wmt17", "wmt23")
    },
}
SHARDS = {"iwslt14.yaml": 4, "tatoeba.yaml": 4, "local.yaml": 2, "wmt17.yaml": 32, "wmt23.yaml": 32}


DATA = {("generate",)} | ALWAYS | {(rule, "0000") for rule in SHARDED}
WHOLE = DATA | MODELS
WITH_GPU = {name for name, rule in RULES.items() if rule.gpu}


def check_requests(resources):
    """Every job requests memory and time, and those of three rules a GPU."""
    for rule, requests in resources:
        assert type(requests["mem_mb"]) is type(requests["runtime"]) is int, (rule, requests)
        assert "<TBD>" not in requests.values(), (rule, requests)
        assert requests.get("gpu") == (1 if rule in WITH_GPU else None), (rule, requests)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_preset_plans_all_nine_systems(fresh_clone, preset):
    run = snakemake(fresh_clone, "-n", "--configfile", f"config/{preset.name}")
    assert run.returncode == 0, run.output
    shards = {(rule, f"{number:04d}") for rule in SHARDED for number in range(SHARDS.get(preset.name, 1))}
    assert run.jobs == ALWAYS | shards | MODELS | ACQUIRED[preset.name]
    assert len(run.resources) == len(run.jobs)
    check_requests(run.resources)


OF_MASTER = ("junior_teacher", "junior_student", "senior_teacher", "master_student")
TARGETS = {
    "data": DATA | {("data",)},
    "models": WHOLE - evaluated(*SYSTEMS) | {("models",)},
    # all but the report and the other table
    "results/bleu_table.csv": WHOLE - {("cost_table",), ("data_report",)},
    "results/cost_table.csv": WHOLE - {("bleu_table",), ("data_report",)},
    # its own chain alone
    "results/demo/master_student/seed1/model.pt": DATA - {("data_report",)}
    | {("train", system, "1") for system in OF_MASTER}
    | cached("junior_teacher", "senior_teacher"),
}


@pytest.mark.parametrize(("target", "expected"), TARGETS.items(), ids=TARGETS)
def test_target_needs_nothing_else(fresh_clone, target, expected):
    assert dry_run(fresh_clone, target) == expected


def test_every_seed_has_its_own_initial_model_and_the_first_teacher(fresh_clone):
    model = "results/demo/master_student/seed7/model.pt"
    jobs = dry_run(fresh_clone, model, "--config", "seeds=[3,7]")
    assert {job for job in jobs if job[0] == "train"} == {
        ("train", "junior_teacher", "3"),
        ("train", "senior_teacher", "3"),
        ("train", "junior_student", "7"),
        ("train", "master_student", "7"),
    }
    jobs = dry_run(fresh_clone, model, "--config", "seeds=[3,7]", "distillation={teacher_seed: same}")
    assert {job[2] for job in jobs if job[0] == "train"} == {"7"}


def test_rows_follow_the_configuration_then_the_overlays(fresh_clone, tmp_path):
    overlays = [tmp_path / "1.yaml", tmp_path / "2.yaml"]
    for overlay in overlays:
        overlay.write_text(f"systems: {{new{overlay.stem}: {{model: student}}, takd_student: {{dropout: 0.2}}}}\n")
    run = snakemake(fresh_clone, "-n", "-p", "results/bleu_table.csv", "--configfile", *overlays)
    scores = re.search(r"--scores (.*?) --training", run.output, re.DOTALL)[1].split()
    assert [path.split("/")[2] for path in scores] == [*SYSTEMS, "new1", "new2"]


def test_lint_is_clean(fresh_clone):
    run = snakemake(fresh_clone, "--lint")
    assert (run.returncode, run.stdout.strip()) == (0, "")
    assert run.stderr.splitlines() == ["Congratulations, your workflow is in a good condition!"]


def test_graphs_are_plain_dot_with_every_training(fresh_clone):
    dag = snakemake(fresh_clone, "--dag")
    rules = snakemake(fresh_clone, "--rulegraph")
    assert (dag.returncode, rules.returncode) == (0, 0), dag.stderr + rules.stderr
    found = re.findall(r'label = "train\\n(?:seed: 1\\n)?system: (\w+)"', dag.stdout)
    assert sorted(found) == sorted(SYSTEMS)
    assert dag.stdout.count('label = "cache_teacher') == len(TEACHERS)
    assert rules.stdout.count('label = "train"') == 1


# Requests


def test_training_on_several_gpus_is_one_job(fresh_clone):
    jobs = snakemake(fresh_clone, "-n", "--config", "training={gpus: 2}").resources
    trainings = [requests for rule, requests in jobs if rule == "train"]
    assert [(each["gpu"], each["nodes"]) for each in trainings] == [(2, 1)] * len(SYSTEMS)
    assert {each["gpu"] for rule, each in jobs if rule in WITH_GPU - {"train"}} == {1}
    jobs = snakemake(fresh_clone, "-n", "--config", "systems={senior_teacher: {gpus: 2, nodes: 3}}").resources
    asked = sorted((each["gpu"], each["nodes"]) for rule, each in jobs if rule == "train")
    assert asked == [(1, 1)] * (len(SYSTEMS) - 1) + [(6, 3)]
    # then Snakemake's executor for SLURM leaves srun to the training
    special = [{name: each.get(name) for name in ("mpi", "tasks", "tasks_per_gpu")} for _, each in jobs]
    assert [each for each in special if any(value is not None for value in each.values())] == [
        {"mpi": "srun", "tasks": 3, "tasks_per_gpu": 0}
    ]


def test_no_gpu_is_requested_on_a_cluster_without(fresh_clone):
    jobs = snakemake(fresh_clone, "-n", "--config", "cluster={request_gpus: false, max_runtime: 15}").resources
    assert not [rule for rule, requests in jobs if "gpu" in requests]
    assert max(requests["runtime"] for _, requests in jobs) == 15


def test_changed_requests_and_estimates_rerun_nothing(project):
    for cluster in ("{request_gpus: false}", "{max_runtime: 30}"):
        assert dry_run(project.folder, "--config", f"cluster={cluster}") == NOTHING
    module = project.folder / "workflow_scripts/ekd_nmt/cluster/resource_estimates.py"
    module.write_text(module.read_text().replace("IMPORTS = 550", "IMPORTS = 5500"))
    assert "IMPORTS = 5500" in module.read_text()
    assert dry_run(project.folder) == NOTHING
