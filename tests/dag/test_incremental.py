"""What a change reruns: the exact set of jobs that a finished project would run."""

import os
import re
import shutil

import pytest
import yaml
from expected_jobs import (
    APPLIED,
    BPE,
    DISTILLED,
    FROM_BPE,
    FROM_CORPUS,
    JUNIOR_LINE,
    MODELS,
    NOTHING,
    PREPARED,
    SENIOR_LINE,
    TABLES,
    TEACHERS,
    TRAIN_TOKENS,
    cached,
    evaluated,
    rebuilt,
    trained,
)
from workflow_runs import dry_run

from configurations import SYSTEMS

pytestmark = pytest.mark.dag

CACHE = "results/demo/{}/seed1/cache/top32"

EDITS = {
    # one kind of model
    "senior dims": ({"models.senior.embed_dim": 192}, rebuilt(*SENIOR_LINE)),
    "junior dims": ({"models.junior.ffn_dim": 192}, rebuilt(*JUNIOR_LINE)),
    "student dims": ({"models.student.ffn_dim": 96}, trained("student", *sorted({*DISTILLED} - {"takd_assistant"}))),
    # one system's own options
    "senior epochs": ({"systems.senior_teacher.max_epoch": 9}, rebuilt(*SENIOR_LINE)),
    "baseline lr": ({"systems.student.lr": 1e-3}, trained("student")),
    "option of a stage": ({"systems.junior_student.lr": 1e-3}, trained("junior_student", "master_student")),
    # the control is trained for as many epochs as the whole chain
    "epochs of a stage": (
        {"systems.junior_student.max_epoch": 5},
        trained("junior_student", "master_student", "senior_student_matched"),
    ),
    "option of a leaf": ({"systems.takd_student.dropout": 0.2}, trained("takd_student")),
    "nested option of a leaf": ({"systems.takd_student.validation": {"beam": 2}}, trained("takd_student")),
    "alpha of one system": ({"systems.takd_assistant.alpha": 0.7}, rebuilt("takd_assistant", "takd_student")),
    "another teacher": (
        {"systems.junior_student.teacher": "takd_assistant"},
        trained("junior_student", "master_student"),
    ),
    "another initial model": ({"systems.senior_student.init": "junior_student"}, trained("senior_student")),
    # options of all
    "training lr": ({"training.lr": 1e-3}, MODELS),
    "validation beam": ({"training.validation.beam": 3}, MODELS),
    "more GPUs": ({"training.gpus": 2}, MODELS),
    "alpha": ({"distillation.alpha": 0.4}, rebuilt(*DISTILLED)),
    # teacher caches; the assistant is a student too: it is trained again, and cached again as a teacher
    "k": ({"distillation.top_k": 16}, trained(*DISTILLED) | cached(*TEACHERS, variant="top16")),
    "tail": ({"distillation.tail": "bucket"}, trained(*DISTILLED) | cached("takd_assistant")),
    "k of a student": (
        {"systems.takd_student.top_k": "full"},
        trained("takd_student") | cached("takd_assistant", variant="full"),
    ),
    # senior_student_matched still reads the other cache of the same teacher
    "temperature of a student": (
        {"systems.senior_student.temperature": 2},
        trained("senior_student") | cached("senior_teacher", variant="top32-T2.0"),
    ),
    "one online teacher": ({"systems.senior_student.teacher_mode": "online"}, trained("senior_student")),
    "online teacher of a teacher": (
        {"systems.takd_assistant.teacher_mode": "online"},
        rebuilt("takd_assistant", "takd_student"),
    ),
    "online teachers": ({"distillation.teacher_mode": "online"}, trained(*DISTILLED)),
    "temporary caches": ({"distillation.keep_cache": False}, NOTHING),
    # evaluation
    "beam of the test": ({"decoding.beam": 3}, evaluated(*SYSTEMS)),
    "baseline of the table": ({"table.baseline": "junior_teacher"}, TABLES),
    # data
    "BPE merges": ({"bpe.merges": 1500}, FROM_BPE),
    "one dictionary": ({"bpe.joined_dictionary": True}, {("binarize",), ("data_report",)} | MODELS),
    "punctuation": ({"data.normalize_punctuation": True}, PREPARED | FROM_BPE),
    "duplicates": ({"data.deduplicate": True}, TRAIN_TOKENS | FROM_BPE),
    "overlap": ({"data.remove_overlap": False}, TRAIN_TOKENS | FROM_BPE),
    "sample of BPE": ({"bpe.sample": 500}, FROM_BPE),
    "language filter": ({"data.filter.other_language": 0.9}, PREPARED - {("prepare", "test")} | FROM_BPE),
    "size of the corpus": ({"data.synthetic.train_size": 9000}, FROM_CORPUS),
    "case": ({"data.lowercase": False}, PREPARED | FROM_BPE),
    # the test set is never filtered
    "length filter": ({"data.filter": {"max_tokens": 60}}, PREPARED - {("prepare", "test")} | FROM_BPE),
    # systems and seeds are added and removed
    "a new system": (
        {"systems.senior_junior": {"model": "junior", "teacher": "senior_teacher", "init": "takd_assistant"}},
        trained("senior_junior"),
    ),
    "a removed system": ({"systems.takd_student": None}, TABLES),
    "a new seed": ({"seeds": [1, 2]}, trained(*SYSTEMS, seeds=["2"])),
    # what affects no result
    "nothing": ({}, NOTHING),
    "options of other corpora": ({"data.holdout.seed": 9, "data.local.train": ["mine.tsv"]}, NOTHING),
    "processes": ({"bpe.workers": 2}, NOTHING),
    "threads": ({"threads": 2}, NOTHING),
    "mirror folder": ({"data.mirror": "/data/mirror"}, NOTHING),
    "explicit defaults": (
        {"decoding.max_len_b": 10, "training.clip_norm": 0, "training.nodes": 1}
        | {"distillation.teacher_mode": "cached", "distillation.top_k": 32},
        NOTHING,
    ),
    "an unused model": ({"models.huge": {"embed_dim": 1024, "ffn_dim": 4096}}, NOTHING),
    # Snakemake compares the values of all parameters as a set: swapped values must be noticed
    "lenpen and max_len_a swapped": ({"decoding": {"lenpen": 1.2, "max_len_a": 1.0}}, evaluated(*SYSTEMS)),
    "sizes swapped": ({"data.synthetic.valid_size": 1000, "data.synthetic.test_size": 300}, FROM_CORPUS),
    "rows swapped": ({"table": {"baseline": "senior_teacher", "senior": "student"}}, TABLES),
}


@pytest.mark.parametrize(("changes", "expected"), EDITS.values(), ids=EDITS)
def test_edit_of_the_configuration(project, changes, expected):
    project.edit(changes)
    assert dry_run(project.folder) == expected


def test_edit_by_an_overlay_or_on_the_command_line(project):
    overlay = project.folder / "overlay.yaml"
    overlay.write_text("systems: {takd_student: {dropout: 0.2}, senior_student: null}\n")
    assert dry_run(project.folder, "--configfile", overlay) == trained("takd_student")
    assert dry_run(project.folder, "--config", "decoding={beam: 3}") == evaluated(*SYSTEMS)
    assert dry_run(project.folder, "--config", "decoding={beam: 5}") == NOTHING


def test_comments_layout_and_order_of_keys_do_not_matter(project):
    def reverse(value):
        return {key: reverse(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    config = yaml.safe_load(project.config_file.read_text())
    turned = reverse(config)
    assert list(turned["systems"]) == SYSTEMS[::-1]
    assert list(turned["systems"]["master_student"]) == ["max_epoch", "init", "teacher", "model"]
    project.config_file.write_text("# another comment\n" + yaml.safe_dump(turned, sort_keys=False, indent=8))
    assert dry_run(project.folder) == NOTHING


def test_age_of_files_and_comments_in_scripts_do_not_matter(project):
    for path in [project.folder / "Snakefile", *project.folder.glob("*/*.*")]:
        if path.suffix in (".yaml", ".smk", ""):
            os.utime(path)
    for path in (project.folder / "workflow_scripts").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        # first, where a rule would look for REVISION; the rest moves down
        path.write_text(f"# REVISION = 99\n\n{source}\n# a comment\n", encoding="utf-8")
    assert dry_run(project.folder) == NOTHING


# Raised revisions: the rules that call the command and what follows, nothing before

RERUNS = {
    "generate": FROM_CORPUS,
    "shard_corpus": {("shard_corpus",)} | TRAIN_TOKENS | FROM_BPE,
    "prepare": PREPARED | FROM_BPE,
    "join_shards": TRAIN_TOKENS | FROM_BPE,  # shards are temporary
    "learn_bpe": FROM_BPE,
    "apply_bpe": APPLIED | MODELS,
    "binarize": {("binarize",), ("data_report",)} | MODELS,
    "data_report": {("data_report",)},
    "train": MODELS,
    "cache_teacher": cached(*TEACHERS) | trained(*DISTILLED),
    "translate": evaluated(*SYSTEMS),
    "score": TABLES | {("score", system, "1") for system in SYSTEMS},
    "bleu_table": {("bleu_table",)},
    "cost_table": {("cost_table",)},
    "unpack_iwslt14": NOTHING,  # not used
}


def raise_revision(project, name):
    path = project.folder / f"workflow_scripts/{name}.py"
    source, raised = re.subn(r"(?m)^REVISION = 1\b", "REVISION = 2", path.read_text())
    assert raised == 1
    path.write_text(source)


@pytest.mark.parametrize(("name", "expected"), RERUNS.items(), ids=RERUNS)
def test_raised_revision(project, name, expected):
    raise_revision(project, name)
    assert dry_run(project.folder) == expected


# rules of a downloaded corpus that is split here; raw/all is temporary, so the split takes `collect` with it
TO_BINARIZED = {job[0] for job in PREPARED | BPE} | {"data"}
SPLIT = TO_BINARIZED | {"collect", "split", "shard_corpus"}
DOWNLOADED = {"fetch": SPLIT | {"fetch"}, "collect": SPLIT, "split": SPLIT, "prepare": TO_BINARIZED}


@pytest.mark.parametrize(("name", "expected"), DOWNLOADED.items(), ids=DOWNLOADED)
def test_raised_revision_with_a_downloaded_corpus(project, name, expected):
    raise_revision(project, name)
    jobs = dry_run(project.folder, "data", "--configfile", "config/tatoeba.yaml")
    assert {job[0] for job in jobs} == expected


# Files

LOST = {
    "model": ("results/demo/master_student/seed1/model.pt", trained("master_student")),
    "model that teaches": ("results/demo/takd_assistant/seed1/model.pt", rebuilt("takd_assistant", "takd_student")),
    "summary of a cache": (
        f"{CACHE.format('junior_teacher')}.json",
        cached("junior_teacher") | trained("junior_student", "master_student"),
    ),
    "hypotheses": ("results/demo/student/seed1/test.hyp.jsonl", evaluated("student")),
    "scores": ("results/demo/student/seed1/scores.json", TABLES | {("score", "student", "1")}),
    "table": ("results/bleu_table.csv", {("bleu_table",)}),
    "BPE merges": ("results/demo/data/bpe.codes", FROM_BPE),
    "raw text": ("results/demo/data/raw/valid.en", FROM_CORPUS),
}


@pytest.mark.parametrize(("file", "expected"), LOST.values(), ids=LOST)
def test_lost_file_is_made_again(project, file, expected):
    """Snakemake deletes the outputs of a job that fails or is killed, so every lost file must be noticed."""
    (project.folder / file).unlink()
    assert dry_run(project.folder) == expected


def test_only_what_the_target_needs_is_made_again(project):
    model = "results/demo/master_student/seed1/model.pt"
    (project.folder / model).unlink()
    assert dry_run(project.folder, model) == {("train", "master_student", "1")}
    assert dry_run(project.folder, "models") == {("train", "master_student", "1"), ("models",)}
    assert dry_run(project.folder, "data") == NOTHING


def test_deleted_cache_is_recomputed_only_when_it_is_read(project):
    shutil.rmtree(project.folder / CACHE.format("takd_assistant"))
    assert dry_run(project.folder) == NOTHING
    project.edit({"systems.takd_student.alpha": 0.3})
    assert dry_run(project.folder) == cached("takd_assistant") | trained("takd_student")


def test_changed_data_reruns_what_reads_it(project):
    """A newer time stamp alone reruns nothing, because Snakemake compares checksums."""
    path = project.folder / "results/demo/data/tok/test.en"
    os.utime(path)
    assert dry_run(project.folder) == NOTHING
    path.write_text("another reference\n")
    assert dry_run(project.folder) == TRAIN_TOKENS | FROM_BPE, "training must not see the test set"


def data_of(preset, project):
    return dry_run(project.folder, "data", "--configfile", f"config/{preset}.yaml")


def test_downloads_are_reused(project):
    manifest = project.folder / "config/datasets.yaml"
    other = "\nextra:\n  licence: CC0\n  citation: none\n  home: https://example.org\n  files: []\n"
    manifest.write_text(manifest.read_text() + other)
    assert data_of("multi30k", project) == NOTHING
    project.edit({"bpe.merges": 4000, "data.mirror": "elsewhere"}, "config/multi30k.yaml")
    assert data_of("multi30k", project) == BPE | {("data",)}


def test_deleted_shards_rerun_nothing(project):
    folder = project.folder / "results/tatoeba/data"
    assert not [path for path in folder.rglob("*") if path.is_file() and "shards" in path.parts]
    assert not list(folder.glob("raw/all.??"))
    assert data_of("tatoeba", project) == NOTHING
    shards = {(rule, f"{number:04d}") for rule in ("prepare_shard", "apply_bpe_shard") for number in range(4)}
    rest = {(rule,) for rule in ("join_shards", "learn_bpe", "join_bpe_shards", "binarize", "data_report", "data")}
    rest |= {("apply_bpe", "valid"), ("apply_bpe", "test")}
    project.edit({"data.deduplicate": False}, "config/tatoeba.yaml")
    assert data_of("tatoeba", project) == shards | rest
    project.edit({"data.shards": 3}, "config/tatoeba.yaml")
    assert data_of("tatoeba", project) == {("shard_corpus",)} | {job for job in shards if job[1] != "0003"} | rest
    (folder / "raw/valid.de").unlink()
    assert data_of("tatoeba", project) >= {("collect", "all"), ("split",), ("shard_corpus",)}
