"""Expected sets of jobs, and which systems of the default experiment depend on which."""

from configurations import SYSTEMS

NOTHING = frozenset()
DISTILLED = SYSTEMS[3:]
TEACHERS = ["junior_teacher", "senior_teacher", "takd_assistant"]
# senior_teacher and all its descendants
SENIOR_LINE = [
    "senior_teacher",
    "senior_student",
    "master_student",
    "takd_assistant",
    "takd_student",
    "senior_student_matched",
]
# the systems of the junior architecture and all their descendants
JUNIOR_LINE = ["junior_teacher", "junior_student", "master_student", "takd_assistant", "takd_student"]

TABLES = {("bleu_table",), ("cost_table",)}


JOINED = {("apply_bpe_shard", "0000"), ("join_bpe_shards",), ("binarize",), ("data_report",)}
APPLIED = JOINED | {("apply_bpe", "valid"), ("apply_bpe", "test")}
BPE = APPLIED | {("learn_bpe",)}
TRAIN_TOKENS = {("prepare_shard", "0000"), ("join_shards",)}
PREPARED = TRAIN_TOKENS | {("prepare", "valid"), ("prepare", "test")}


def evaluated(*systems, seeds=("1",)):
    """Jobs that translate and score some systems, and the tables."""
    return TABLES | {(rule, system, seed) for rule in ("translate", "score") for system in systems for seed in seeds}


def trained(*systems, seeds=("1",)):
    """Jobs that train, translate and score some systems, and the tables."""
    return evaluated(*systems, seeds=seeds) | {("train", system, seed) for system in systems for seed in seeds}


def cached(*teachers, seeds=("1",), variant="top32"):
    """Jobs that cache some teachers."""
    return {("cache_teacher", teacher, seed, variant) for teacher in teachers for seed in seeds}


def rebuilt(*systems):
    """As :func:`trained`, and the teachers among the systems are cached again."""
    return trained(*systems) | cached(*(system for system in systems if system in TEACHERS))


MODELS = rebuilt(*SYSTEMS)
FROM_BPE = BPE | MODELS
FROM_CORPUS = {("generate",), ("shard_corpus",)} | PREPARED | FROM_BPE
