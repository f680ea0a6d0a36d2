"""Expected sets of jobs, and the dependences between the systems of the default experiment."""

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
