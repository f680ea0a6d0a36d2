"""Determiners: which there are, what they demand of number and adjectives, and their forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from synthetic import german, numerals
from synthetic.dice import Dice
from synthetic.german import Case, Gender
from synthetic.lexicon import Lexicon
from synthetic.words import Owner

DETERMINERS = {
    "the": 0.42,
    "a": 0.24,
    "possessive": 0.12,
    "this": 0.06,
    "number": 0.07,
    "name": 0.04,
    "every": 0.03,
    "all": 0.02,
}
NEGATABLE = ("the", "a", "possessive", "this", "name")
TWIN_DETERMINERS = ("the", "a", "possessive", "this", "every")
DETERMINER_CHOICES = {  # by whether the phrase is negated, and whether its noun is a twin
    (negated, twin): {
        kind: weight
        for kind, weight in DETERMINERS.items()
        if (not negated or kind in NEGATABLE) and (not twin or kind in TWIN_DETERMINERS)
    }
    for negated in (False, True)
    for twin in (False, True)
}
# "Klaras Lehrer" would be one or many, so a name takes the singular alone
SINGULAR_ONLY, PLURAL_ONLY = ("every", "name"), ("number", "all")
FREE_OWNERS: dict[Owner, float] = {("mein", "my"): 0.5, ("dein", "your"): 0.25, ("unser", "our"): 0.25}
PLURALS, OWN = 0.3, 0.7
NUMBERS = {(2, 12): 0.5, (13, 99): 0.4, (100, numerals.LARGEST): 0.1}


@dataclass(slots=True)
class Determiner:
    """A determiner and the endings that it leaves to the adjectives; ``inflected`` ones show gender and case."""

    german: list[str]
    english: list[str]
    endings: Mapping[str, tuple[str, ...]]
    definite: bool
    inflected: bool = True


def choose(dice: Dice, negated: bool, twin: bool) -> str:
    """Which kind; the restrictions keep case, number and sense of the phrase readable."""
    return dice.weighted(DETERMINER_CHOICES[negated, twin])


def number(dice: Dice, kind: str, twin: bool) -> Literal["s", "p"]:
    """Singular or plural; twins have no plural."""
    if kind in PLURAL_ONLY:
        return "p"
    return "p" if kind not in SINGULAR_ONLY and not twin and dice.chance(PLURALS) else "s"


def determiner(
    lexicon: Lexicon, kind: str, gender: Gender, case: Case, negated: bool, owner: Owner | None
) -> Determiner:
    """The determiner in its form; a possessive often refers to ``owner``, if there is one."""
    dice, plural = lexicon.dice, gender == "p"
    if kind == "the":
        form = german.DEFINITE[gender][german.CASES.index(case)]
        return Determiner([form], ["the"], german.WEAK_ADJECTIVE, True)
    if kind in ("this", "every", "all"):
        stem = {"this": "dies", "every": "jed", "all": "all"}[kind]
        word = "these" if kind == "this" and plural else kind
        return Determiner([german.inflect(stem, german.STRONG, gender, case)], [word], german.WEAK_ADJECTIVE, True)
    if kind == "name":
        name = lexicon.draw("first name").text
        return Determiner([f"{name}s"], [f"{name}'s"], german.STRONG, True, inflected=False)
    if kind == "number":
        count = dice.between(*dice.weighted(NUMBERS))
        words = numerals.english(count).split()
        return Determiner([numerals.german(count)], words, german.STRONG, False, inflected=False)
    if kind == "a" and plural and not negated:
        return Determiner([], [], german.STRONG, False, inflected=False)
    if kind == "possessive":
        stem, word = owner if owner and dice.chance(OWN) else dice.weighted(FREE_OWNERS)
    else:
        stem, word = ("kein", "no") if negated else ("ein", "a")
    form = german.inflect(stem, german.MIXED_DETERMINER, gender, case)
    return Determiner([form], [word], german.MIXED_ADJECTIVE, kind == "possessive")
