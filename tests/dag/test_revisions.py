"""What raising the REVISION of a command makes run again: the rules that call it and what follows, nothing before."""

import re

import pytest
from expected_jobs import NOTHING, TABLES, cached, evaluated, rebuilt, trained
from workflow_runs import dry_run

from configurations import SYSTEMS

pytestmark = pytest.mark.dag

REPORT = {("data_report",)}
BINARIZED = REPORT | {("binarize",)}
JOINED_BPE = BINARIZED | {("join_bpe_shards",)}
APPLIED = JOINED_BPE | {("apply_bpe_shard", "0000"), ("apply_bpe", "valid"), ("apply_bpe", "test")}
FROM_JOIN = APPLIED | {("join_shards",), ("learn_bpe",)}
FROM_PREPARE = FROM_JOIN | {("prepare_shard", "0000"), ("prepare", "valid"), ("prepare", "test")}
MODELS = rebuilt(*SYSTEMS)
TEACHERS = ["junior_teacher", "senior_teacher", "takd_assistant"]
DISTILLED = SYSTEMS[3:]

RERUNS = {
    "generate": {("generate",), ("shard_corpus",)} | FROM_PREPARE | MODELS,
    "shard_corpus": {("shard_corpus",)} | FROM_JOIN | {("prepare_shard", "0000")} | MODELS,
    "prepare": FROM_PREPARE | MODELS,
    "join_shards": FROM_JOIN | {("prepare_shard", "0000")} | MODELS,  # shards are temporary
    "learn_bpe": APPLIED | {("learn_bpe",)} | MODELS,
    "apply_bpe": APPLIED | MODELS,
    "binarize": BINARIZED | MODELS,
    "data_report": REPORT,
    "train": MODELS,
    "cache_teacher": cached(*TEACHERS) | trained(*DISTILLED),
    "translate": evaluated(*SYSTEMS),
    "score": TABLES | {("score", system, "1") for system in SYSTEMS},
    "bleu_table": {("bleu_table",)},
    "cost_table": {("cost_table",)},
}


def command(project, name):
    return project.folder / f"workflow_scripts/{name}.py"


def raise_revision(project, name):
    source, raised = re.subn(
        r"(?m)^REVISION = (\d+)", lambda found: f"REVISION = {int(found[1]) + 1}", command(project, name).read_text()
    )
    assert raised == 1
    command(project, name).write_text(source)


@pytest.mark.parametrize(("name", "expected"), RERUNS.items(), ids=RERUNS)
def test_raised_revision(project, name, expected):
    raise_revision(project, name)
    assert dry_run(project.folder) == expected


# rules of a downloaded corpus that is split here; raw/all is temporary, so the split takes `collect` with it
TO_BINARIZED = {job[0] for job in FROM_PREPARE} | {"data"}
SPLIT = TO_BINARIZED | {"collect", "split", "shard_corpus"}
DOWNLOADED = {"fetch": SPLIT | {"fetch"}, "collect": SPLIT, "split": SPLIT, "prepare": TO_BINARIZED}


@pytest.mark.parametrize(("name", "expected"), DOWNLOADED.items(), ids=DOWNLOADED)
def test_raised_revision_with_a_downloaded_corpus(project, name, expected):
    raise_revision(project, name)
    jobs = dry_run(project.folder, "data", "--configfile", "config/tatoeba.yaml")
    assert {job[0] for job in jobs} == expected


def test_raised_revision_of_an_unused_command(project):
    raise_revision(project, "unpack_iwslt14")
    assert dry_run(project.folder) == NOTHING


def test_comments_and_moved_lines_rerun_nothing(project):
    scripts = project.folder / "workflow_scripts"
    for path in sorted(scripts.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        # first, where a rule would look for REVISION; the rest moves down
        path.write_text(f"# REVISION = 99\n\n{source}\n# a comment\n", encoding="utf-8")
    assert dry_run(project.folder) == NOTHING
