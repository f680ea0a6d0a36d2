"""How large caches are said to be: exactly once the corpus is binarised, before that as far as it can be known."""

import json

import numpy
import pytest

from binarize import binarize
from configurations import ROOT, experiment
from ekd_nmt.cluster.cache_size import Corpus, announcement, bytes_per_token, measured
from ekd_nmt.corpus.manifest import load_manifest

MANIFEST = load_manifest(ROOT / "config/datasets.yaml")


@pytest.mark.parametrize("vocabulary", [4, 65536, 65537])
@pytest.mark.parametrize("k", [1, 32])
def test_bytes_of_a_record_of_the_most_probable_tokens(k, vocabulary):
    stored = min(k, vocabulary)
    record = numpy.dtype(
        [("id", "u2" if vocabulary <= 65536 else "u4", (stored,)), ("logp", "f2", (stored,)), ("tail", "f2")]
    )
    assert bytes_per_token(k, vocabulary) == record.itemsize


def test_bytes_of_a_record_of_all_tokens():
    assert bytes_per_token("full", 4376) == numpy.dtype([("logp", "f4", (4376,))]).itemsize


def test_measured_counts_every_target_position_of_the_binarised_corpus(tmp_path):
    from fairseq.data.indexed_dataset import MMapIndexedDataset

    text = {"train": "a b c\nb c\n", "valid": "c c\n", "test": "a\n"}
    for split, lines in text.items():
        (tmp_path / f"{split}.de").write_text("x\n" * lines.count("\n"))
        (tmp_path / f"{split}.en").write_text(lines)
    report = binarize(tmp_path, ("de", "en"), tmp_path / "bin")
    (tmp_path / "binarize.json").write_text(json.dumps(report))
    train, valid = (MMapIndexedDataset(str(tmp_path / f"bin/{split}.de-en.en")) for split in ("train", "valid"))
    expected = Corpus(int(train.sizes.sum()), int(valid.sizes.sum()), report["dictionaries"]["en"])
    assert (expected.train, expected.valid) == (5 + 2, 2 + 1)
    assert measured(tmp_path / "binarize.json", "en") == expected


@pytest.mark.parametrize("text", ["", "{}", '{"splits": {"train": {"cs": {}}}}'])
def test_nothing_is_measured_from_another_report(tmp_path, text):
    (tmp_path / "binarize.json").write_text(text)
    assert measured(tmp_path / "binarize.json", "en") is None
    assert measured(tmp_path / "nowhere.json", "en") is None


def announced(folder, monkeypatch, overlay, report=None):
    """The announcement of an experiment, with or without a report of its binarised corpus."""
    monkeypatch.chdir(folder)
    built = experiment(overlay)
    if report is not None:
        path = folder / built.data_path("binarize.json")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(report))
    return announcement(built, MANIFEST)


def report(train, valid, symbols):
    def side(tokens, sentences):
        return {"en": {"tokens": tokens - sentences, "sentences": sentences}}

    return {"dictionaries": {"en": symbols}, "splits": {"train": side(train, 10_000), "valid": side(valid, 100)}}


def test_exact_size(tmp_path, monkeypatch):
    line = announced(tmp_path, monkeypatch, "{}", report(2_000_000, 3_000, 4_000))
    assert line == "teacher caches: 3, 781 MB in all (2,000,000 + 3,000 target tokens x 130 bytes x 3)"


def test_exact_size_of_caches_that_store_different_things(tmp_path, monkeypatch):
    overlay = "systems: {takd_student: {top_k: full}, senior_student: {temperature: 2}}"
    line = announced(tmp_path, monkeypatch, overlay, report(2_000_000, 3_000, 4_000))
    assert line == (
        "teacher caches: 4, 32.8 GB in all (2,000,000 + 3,000 target tokens x (130 bytes x 3 + 16,000 bytes x 1))"
    )


@pytest.mark.parametrize(
    ("overlay", "line"),
    [
        (
            "data: {synthetic: {train_size: 40000, valid_size: 1000}}",
            "teacher caches: 3, about 400 MB in all, an estimate "
            "(40,000 + 1,000 pairs x about 25 target tokens x 130 bytes x 3)",
        ),
        (
            "data: {corpus: multi30k}",
            "teacher caches: 3, about 293 MB in all, an estimate "
            "(29,000 + 1,014 pairs x about 25 target tokens x 130 bytes x 3)",
        ),
        # what is held out for the test is not cached
        (
            "data: {corpus: tatoeba, holdout: {valid_size: 813, test_size: 9000}}",
            "teacher caches: 3, about 1.6 GB in all, an estimate "
            "(160,000 + 813 pairs x about 25 target tokens x 130 bytes x 3)",
        ),
        # as many symbols as merges
        (
            "{data: {synthetic: {train_size: 2, valid_size: 1}}, bpe: {merges: 500}, distillation: {top_k: full}}",
            "teacher caches: 3, about 450 kB in all, an estimate "
            "(2 + 1 pairs x about 25 target tokens x 2,000 bytes x 3)",
        ),
        # how many pairs there are is not known before
        (
            "data: {corpus: local, local: {train: [corpus.tsv]}}",
            "teacher caches: 3, their size is known once the corpus is binarised (target tokens x 130 bytes x 3)",
        ),
        (
            "{data: {corpus: wmt23, source_lang: en, target_lang: cs}, bpe: {merges: 70000}}",
            "teacher caches: 3, their size is known once the corpus is binarised (target tokens x 194 bytes x 3)",
        ),
    ],
)
def test_estimates(tmp_path, monkeypatch, overlay, line):
    assert announced(tmp_path, monkeypatch, overlay) == line
