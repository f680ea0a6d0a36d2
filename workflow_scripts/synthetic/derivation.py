"""Derived lexemes: a suffix or prefix on another lexeme, with a regular translation.

They are what makes subwords worth learning: ``Klaug`` + ``-los`` is "clow" + "-less" even when the whole was never
seen. Each function draws a candidate, or ``None`` when the word that came up cannot be a base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synthetic.dice import Dice
from synthetic.english import add_vowel_suffix
from synthetic.german import Gender, noun_forms
from synthetic.words import Adjective, Noun, Sense, Verb

ADJECTIVE_SUFFIXES = {"los": "less", "ig": "y", "isch": "ish"}  # on nouns
Pool = Mapping[str, Sequence]  # kind -> lexemes coined so far; "verb" holds those that may be a base


def _join(word: str, suffix: str) -> str:
    return add_vowel_suffix(word, suffix) if suffix[0] in "aeiouy" else word + suffix


def _noun(stem: str, suffix: str, gender: Gender, word: str, sense: Sense) -> Noun:
    """A derived noun; masculines and neuters have no plural ending, ``-in`` doubles its n."""
    lemma = (stem + suffix).capitalize()
    plural = lemma if gender != "f" else lemma + ("nen" if suffix == "erin" else "en")
    linker = "s" if suffix in ("ung", "heit", "erei") else None
    return Noun(lemma, gender, noun_forms(lemma, plural, gender, weak=False), word, sense, linker)


def noun(dice: Dice, sense: Sense, pool: Pool) -> Noun | None:
    """A person or a place from a verb, an idea from a verb or an adjective, a small thing from a thing."""
    if sense == "thing":
        base = dice.early(pool["thing"])
        usable = base.transparent and not base.lemma.endswith("chen")
        return _noun(base.lemma.removesuffix("e"), "chen", "n", _join(base.english, "let"), sense) if usable else None
    if sense == "idea" and dice.chance(0.4):
        base = dice.early(pool["adjective"])
        return _noun(base.stem, "heit", "f", _join(base.english, "ness"), sense) if base.transparent else None
    base = dice.early(pool["verb"])
    if not base.transparent or base.english.particle:
        return None
    stem, word = base.infinitive.removesuffix("en"), base.english.base
    if sense == "person" and dice.chance(0.4):
        return _noun(stem, "erin", "f", _join(word, "eress"), sense)
    endings: dict[Sense, tuple[str, str, Gender]] = {
        "person": ("er", "er", "m"),
        "place": ("erei", "ery", "f"),
        "idea": ("ung", "ment", "f"),
    }
    suffix, translation, gender = endings[sense]
    return _noun(stem, suffix, gender, _join(word, translation), sense)


def adjective(dice: Dice, pool: Pool) -> Adjective | None:
    """``un-`` on an adjective, ``-bar`` on a verb, ``-los``, ``-ig`` or ``-isch`` on a noun."""
    kind = dice.weighted({"thing": 0.35, "person": 0.15, "verb": 0.25, "adjective": 0.25})
    base = dice.early(pool[kind]) if pool[kind] else None
    if base is None or not base.transparent:
        return None
    if isinstance(base, Adjective):
        stem, word = "un" + base.stem, "un" + base.english
    elif isinstance(base, Verb):
        if base.english.particle:
            return None
        stem, word = base.infinitive.removesuffix("en") + "bar", _join(base.english.base, "able")
    else:
        suffix = dice.pick(tuple(ADJECTIVE_SUFFIXES))
        stem = base.lemma.lower().removesuffix("e") + suffix
        word = _join(base.english, ADJECTIVE_SUFFIXES[suffix])
    return Adjective(stem, word, word)
