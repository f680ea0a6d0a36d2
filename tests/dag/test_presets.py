"""The real Snakefile in a fresh clone, without data or network: presets, targets, lint, graphs."""

import re

import pytest
from expected_jobs import TABLES, TEACHERS, cached, evaluated, trained
from workflow_runs import dry_run, snakemake

from configurations import PRESETS, SYSTEMS
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


def of_rule(jobs, *rules):
    return {job for job in jobs if job[0] in rules}


def runs(rule, *systems):
    return {(rule, system, "1") for system in systems}


def in_shards(count=1):
    return {(rule, f"{number:04d}") for rule in SHARDED for number in range(count)}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_preset_plans_all_nine_systems(fresh_clone, preset):
    jobs = dry_run(fresh_clone, "--configfile", f"config/{preset.name}")
    expected = trained(*SYSTEMS) | cached(*TEACHERS)
    assert jobs == ALWAYS | in_shards(SHARDS.get(preset.name, 1)) | expected | ACQUIRED[preset.name]
    assert of_rule(jobs, "train") == runs("train", *SYSTEMS)


def test_target_data_trains_nothing(fresh_clone):
    assert dry_run(fresh_clone, "data") == {("generate",), ("data",)} | ALWAYS | in_shards()


def test_target_models_evaluates_nothing(fresh_clone):
    jobs = dry_run(fresh_clone, "models")
    expected = ALWAYS | in_shards() | (trained(*SYSTEMS) - evaluated(*SYSTEMS)) | cached(*TEACHERS)
    assert jobs == {("generate",), ("models",)} | expected


@pytest.mark.parametrize("table", ["bleu_table", "cost_table"])
def test_target_table_needs_all_but_the_report_and_the_other_table(fresh_clone, table):
    others = TABLES - {(table,)} | {("data_report",)}
    assert dry_run(fresh_clone, f"results/{table}.csv") == dry_run(fresh_clone) - others


def test_target_model_trains_its_own_chain_alone(fresh_clone):
    jobs = dry_run(fresh_clone, "results/demo/master_student/seed1/model.pt")
    chain = "junior_teacher", "junior_student", "senior_teacher", "master_student"
    assert of_rule(jobs, "train") == runs("train", *chain)
    assert not of_rule(jobs, "translate", "score", "bleu_table")


def test_every_seed_has_its_own_initial_model_and_the_first_teacher(fresh_clone):
    model = "results/demo/master_student/seed7/model.pt"
    jobs = dry_run(fresh_clone, model, "--config", "seeds=[3,7]")
    assert of_rule(jobs, "train") == {
        ("train", "junior_teacher", "3"),
        ("train", "senior_teacher", "3"),
        ("train", "junior_student", "7"),
        ("train", "master_student", "7"),
    }
    jobs = dry_run(fresh_clone, model, "--config", "seeds=[3,7]", "distillation={teacher_seed: same}")
    assert {seed for _, _, seed in of_rule(jobs, "train")} == {"7"}


def test_rows_follow_the_configuration_then_the_overlays(fresh_clone, tmp_path):
    overlays = []
    for number in (1, 2):
        overlays.append(tmp_path / f"{number}.yaml")
        overlays[-1].write_text(
            f"systems: {{new{number}: {{model: student}}, takd_student: {{dropout: 0.{number}}}}}\n"
        )
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
    trained = re.findall(r'label = "train\\n(?:seed: 1\\n)?system: (\w+)"', dag.stdout)
    assert sorted(trained) == sorted(SYSTEMS)
    assert dag.stdout.count('label = "cache_teacher') == len(TEACHERS)
    assert rules.stdout.count('label = "train"') == 1
