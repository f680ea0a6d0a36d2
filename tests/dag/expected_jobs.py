"""Sets of jobs that the tests expect, and which systems of the default experiment depend on which."""

from configurations import SYSTEMS

NOTHING = frozenset()
DISTILLED = SYSTEMS[3:]
TEACHERS = ["junior_teacher", "senior_teacher", "takd_assistant"]
# senior_teacher and all that descend from it
SENIOR_LINE = [
    "senior_teacher",
    "senior_student",
    "master_student",
    "takd_assistant",
    "takd_student",
    "senior_student_matched",
]
# the systems of the junior architecture and all that descend from them
JUNIOR_LINE = ["junior_teacher", "junior_student", "master_student", "takd_assistant", "takd_student"]

TABLES = {("bleu_table",), ("cost_table",)}


def evaluated(*systems, seeds=("1",)):
    """Translations and scores of some systems, and the tables."""
    return TABLES | {(rule, system, seed) for rule in ("translate", "score") for system in systems for seed in seeds}


def trained(*systems, seeds=("1",)):
    """Some systems trained, translated and scored, and the tables."""
    return evaluated(*systems, seeds=seeds) | {("train", system, seed) for system in systems for seed in seeds}


def cached(*teachers, seeds=("1",), variant="top32"):
    """The caches of some teachers."""
    return {("cache_teacher", teacher, seed, variant) for teacher in teachers for seed in seeds}


def rebuilt(*systems):
    """Some systems trained, as :func:`trained`, and those of them that are teachers cached anew."""
    return trained(*systems) | cached(*(system for system in systems if system in TEACHERS))
