"""The rules of the workflow: what each one needs, and where it runs.

Tests compare the table with the rules themselves, with ``localrules:``, and with the groups of
slurm/config.v9+.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Rule:
    """One rule; ``resource_estimates`` has formulas for the memory and time of those without numbers here."""

    memory: int = 0  # MB for any corpus
    per_pair: int = 0  # further bytes for each training pair
    pairs_per_second: int = 0  # speed; 0 if the time hardly depends on the corpus
    per_held_out_pair: int = 0  # further bytes for each pair of the validation and test sets
    sharded: bool = False  # a job reads one shard of the training set
    gpu: bool = False  # requests a GPU and the partition that has them
    local: bool = False  # runs where Snakemake runs: it needs the internet or takes seconds
    corpus_group: bool = False  # a step of the single job that prepares a corpus
    leased: bool = False  # holds a lease on its output and resumes; may take hours; a second copy waits for the first


_corpus_step = partial(Rule, corpus_group=True)

RULES = {
    "fetch": Rule(200, local=True, leased=True),
    "generate": _corpus_step(80, 4000, 2000),
    "unpack_iwslt14": _corpus_step(200, 2000, 2000),
    "collect": _corpus_step(200, 0, 5000),
    "split": _corpus_step(200, 120, 5000),
    "shard_corpus": _corpus_step(50, 0, 100_000),
    "prepare": _corpus_step(200, 0, 1000, per_held_out_pair=2000),
    "prepare_shard": _corpus_step(200, 0, 1000, per_held_out_pair=2000, sharded=True),
    "join_shards": _corpus_step(150, 1, 5000),
    "learn_bpe": _corpus_step(100, 0, 5000),
    "apply_bpe": _corpus_step(100, 0, 5000),
    "apply_bpe_shard": _corpus_step(100, 0, 5000, sharded=True),
    "join_bpe_shards": _corpus_step(100, 0, 20_000),
    "binarize": _corpus_step(500, 20, 5000),
    "data_report": _corpus_step(300, 0, 3000, per_held_out_pair=2000),
    "train": Rule(gpu=True, leased=True),
    "cache_teacher": Rule(gpu=True, leased=True),
    "translate": Rule(gpu=True, leased=True),
    "score": Rule(300, per_held_out_pair=2000, local=True),
    "bleu_table": Rule(250, local=True),
    "cost_table": Rule(250, local=True),
    "clean_stale": Rule(local=True),
}
LEASED = frozenset(name for name, rule in RULES.items() if rule.leased)
