"""What an edit reruns: the exact set of jobs that a finished project would run."""

import os

import pytest
import yaml
from expected_jobs import DISTILLED, JUNIOR_LINE, NOTHING, SENIOR_LINE, TABLES, evaluated, rebuilt, trained
from workflow_runs import dry_run

from configurations import SYSTEMS

pytestmark = pytest.mark.dag

JOINED = {("apply_bpe_shard", "0000"), ("join_bpe_shards",), ("binarize",), ("data_report",)}
BINARIZED = JOINED | {("learn_bpe",), ("apply_bpe", "valid"), ("apply_bpe", "test")}
TRAIN_TOKENS = {("prepare_shard", "0000"), ("join_shards",)}
PREPARED = TRAIN_TOKENS | {("prepare", "valid"), ("prepare", "test")}


FROM_BPE = BINARIZED | rebuilt(*SYSTEMS)
FROM_CORPUS = {("generate",), ("shard_corpus",)} | PREPARED | FROM_BPE

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
    "training lr": ({"training.lr": 1e-3}, rebuilt(*SYSTEMS)),
    "validation beam": ({"training.validation.beam": 3}, rebuilt(*SYSTEMS)),
    "alpha": ({"distillation.alpha": 0.4}, rebuilt(*DISTILLED)),
    # evaluation
    "beam of the test": ({"decoding.beam": 3}, evaluated(*SYSTEMS)),
    "baseline of the table": ({"table.baseline": "junior_teacher"}, TABLES),
    # data
    "BPE merges": ({"bpe.merges": 1500}, FROM_BPE),
    "one dictionary": ({"bpe.joined_dictionary": True}, {("binarize",), ("data_report",)} | rebuilt(*SYSTEMS)),
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
    "an explicit default": ({"decoding.max_len_b": 10, "training.clip_norm": 0}, NOTHING),
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


def test_age_of_the_configuration_and_of_the_scripts_does_not_matter(project):
    for path in [project.folder / "Snakefile", *project.folder.glob("*/*.*")]:
        if path.suffix in (".yaml", ".smk", ".py", ""):
            os.utime(path)
    assert dry_run(project.folder) == NOTHING


LOST = {
    "model": ("results/demo/master_student/seed1/model.pt", trained("master_student")),
    "model that teaches": ("results/demo/takd_assistant/seed1/model.pt", rebuilt("takd_assistant", "takd_student")),
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


def test_changed_data_reruns_what_reads_it(project):
    """A newer time stamp alone reruns nothing, because Snakemake compares checksums."""
    path = project.folder / "results/demo/data/tok/test.en"
    os.utime(path)
    assert dry_run(project.folder) == NOTHING
    path.write_text("another reference\n")
    assert dry_run(project.folder) == TRAIN_TOKENS | FROM_BPE, "training must not see the test set"


def multi30k(project, *arguments):
    return dry_run(project.folder, *arguments, "--configfile", "config/multi30k.yaml")


def test_downloads_are_reused(project):
    assert multi30k(project, "data") == NOTHING
    project.edit({"bpe.merges": 4000, "data.mirror": "elsewhere"}, "config/multi30k.yaml")
    expected = BINARIZED | {("data",)}
    assert multi30k(project, "data") == expected


def test_deleted_shards_rerun_nothing(project):
    def data(*arguments):
        return dry_run(project.folder, "data", *arguments, "--configfile", "config/tatoeba.yaml")

    folder = project.folder / "results/tatoeba/data"
    assert not [path for path in folder.rglob("*") if path.is_file() and "shards" in path.parts]
    assert not list(folder.glob("raw/all.??"))
    assert data() == NOTHING
    shards = {(rule, f"{number:04d}") for rule in ("prepare_shard", "apply_bpe_shard") for number in range(4)}
    rest = {(rule,) for rule in ("join_shards", "learn_bpe", "join_bpe_shards", "binarize", "data_report", "data")}
    rest |= {("apply_bpe", "valid"), ("apply_bpe", "test")}
    project.edit({"data.deduplicate": False}, "config/tatoeba.yaml")
    assert data() == shards | rest
    project.edit({"data.shards": 3}, "config/tatoeba.yaml")
    assert data() == {("shard_corpus",)} | {job for job in shards if job[1] != "0003"} | rest
    (folder / "raw/valid.de").unlink()
    assert data() >= {("collect", "all"), ("split",), ("shard_corpus",)}


def test_an_entry_of_another_data_set_does_not_matter(project):
    manifest = project.folder / "config/datasets.yaml"
    manifest.write_text(
        manifest.read_text() + "\nextra:\n  licence: CC0\n  citation: none\n  home: https://example.org\n  files: []\n"
    )
    assert multi30k(project, "data") == NOTHING
