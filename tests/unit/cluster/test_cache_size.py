"""The announced size of teacher caches: exact once the corpus is binarised, an estimate before."""

import numpy
import pytest

from configurations import experiment
from ekd_nmt.cluster.cache_size import announcement, bytes_per_token
from ekd_nmt.cluster.corpus_size import CorpusSize

MEASURED = CorpusSize(10_000, 100, 100, 3500, 4000, tokens=210, longest=500, target_tokens=(2_000_000, 3_000))
ESTIMATED = CorpusSize(40_000, 1000, 9, 3000, 3000, tokens=25, longest=500)


@pytest.mark.parametrize("vocabulary", [4, 65536, 65537])
@pytest.mark.parametrize("k", [1, 32])
def test_bytes_of_a_token(k, vocabulary):
    stored = min(k, vocabulary)
    record = numpy.dtype(
        [("id", "u2" if vocabulary <= 65536 else "u4", (stored,)), ("logp", "f2", (stored,)), ("tail", "f2")]
    )
    assert bytes_per_token(k, vocabulary) == record.itemsize
    assert bytes_per_token("full", vocabulary) == numpy.dtype([("logp", "f4", (vocabulary,))]).itemsize


@pytest.mark.parametrize(
    ("overlay", "corpus", "size"),
    [
        ("{}", MEASURED, "3, 781 MB in all (2,000,000 + 3,000 target tokens x 130 bytes x 3)"),
        (
            "systems: {takd_student: {top_k: full}, senior_student: {temperature: 2}}",
            MEASURED,
            "4, 32.8 GB in all (2,000,000 + 3,000 target tokens x (130 bytes x 3 + 16,000 bytes x 1))",
        ),
        ("{}", ESTIMATED, "3, about 400 MB in all, an estimate (1,000,000 + 25,000 target tokens x 130 bytes x 3)"),
        (
            "distillation: {top_k: full}",
            ESTIMATED._replace(train=2, valid=1),
            "3, about 3 MB in all, an estimate (50 + 25 target tokens x 12,000 bytes x 3)",
        ),
        (
            "{}",
            ESTIMATED._replace(train=1, valid=1, target_symbols=71_000),
            "3, about 29 kB in all, an estimate (25 + 25 target tokens x 194 bytes x 3)",
        ),
    ],
)
def test_announcement(overlay, corpus, size):
    assert announcement(experiment(overlay), corpus) == f"teacher caches: {size}"
