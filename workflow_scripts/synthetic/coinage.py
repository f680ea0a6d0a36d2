"""Coining lexemes with a root of their own: nouns, adjectives, verbs and names.

Every function draws a candidate; the lexicon takes it if none of its forms is in use. ``rank`` is 0 for the most
frequent word of a kind and 1 for the rarest: by Zipf's law of brevity, rare words are longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from synthetic import english, german
from synthetic.dice import Dice
from synthetic.german import Case, Gender
from synthetic.phonology import Root, ablaut, cognate, english_root, german_root, spell
from synthetic.words import Adjective, Name, Noun, Preposition, Sense, Verb

COGNATES = 0.5
STRONG_GERMAN, STRONG_ENGLISH = 0.35, 0.3
GENDERS: dict[Gender, float] = {"m": 0.4, "f": 0.35, "n": 0.25}
UMLAUT = {"a": "ä", "o": "ö", "u": "ü", "au": "äu", "oh": "öh", "uh": "üh"}
PARTICLES = {"zurück": "back", "weg": "away", "aus": "out", "auf": "up", "ab": "off", "ein": "in"}
SEPARABLE = (*PARTICLES, "an", "bei", "mit", "nach", "vor", "zu", "um", "los")
INSEPARABLE = ("be", "ver", "er", "ent", "zer")
VERB_SHAPES = {"simple": 0.5, "separable": 0.28, "inseparable": 0.12, "ieren": 0.1}
MEANINGS: dict[tuple[str, Case], tuple[str, str]] = {
    ("auf", "acc"): ("for", "on"),
    ("an", "acc"): ("of", "in"),
    ("über", "acc"): ("about", "over"),
    ("mit", "dat"): ("with", "by"),
    ("nach", "dat"): ("after", "for"),
    ("von", "dat"): ("from", "of"),
}
GOVERNED = tuple(Preposition(*word, meaning) for word, meanings in MEANINGS.items() for meaning in meanings)


def long_share(rank: float) -> float:
    """Probability of a two-syllable root."""
    return 0.1 + 0.4 * rank


def roots(dice: Dice, rank: float) -> tuple[Root, Root]:
    """A German root and its translation, a cognate or not."""
    root = german_root(dice, long_share(rank))
    return root, cognate(root) if dice.chance(COGNATES) else english_root(dice, long_share(rank))


def translation(dice: Dice, rank: float) -> Root:
    """A translation for a word that has one already."""
    return english_root(dice, long_share(rank))


def noun(dice: Dice, sense: Sense, rank: float, wanted: Gender | None = None) -> Noun:
    """A noun, declined by a class that fits its gender and sense."""
    root, english_side = roots(dice, rank)
    gender = dice.weighted(GENDERS) if wanted is None else wanted
    stem, word = spell(root), spell(english_side)

    def declined(lemma: str, plural: str, linker: str, weak: bool = False) -> Noun:
        lemma, plural = lemma.capitalize(), plural.capitalize()
        return Noun(lemma, gender, german.noun_forms(lemma, plural, gender, weak), word, sense, linker)

    if gender == "f":
        return declined(stem + "e", stem + "en", "n") if dice.chance(0.7) else declined(stem, stem + "en", "")
    if gender == "m" and sense == "person" and dice.chance(0.3):
        return declined(stem, stem + "en", "en", weak=True)
    if dice.chance(0.25):
        stem += dice.pick(("er", "el"))
        return declined(stem, stem, "")
    fronted = spell(ablaut(root, UMLAUT.get(root[-1].nucleus, root[-1].nucleus)))
    return declined(stem, fronted + ("er" if gender == "n" else "e"), dice.pick(("", "", "s")))


def adjective(dice: Dice, rank: float, ambiguous: bool = False) -> Adjective:
    """An adjective; an ambiguous one has two unrelated translations."""
    root, english_side = roots(dice, rank)
    word = spell(english_side)
    return Adjective(spell(root), word, spell(translation(dice, rank)) if ambiguous else word)


def verb(dice: Dice, kind: str, rank: float, bases: Sequence[Verb]) -> Verb:
    """A verb: a root of its own, or a prefix on one of ``bases``.

    A separable verb either means what its parts mean (``zurückgeben``, "give back") or something unrelated
    (``anfangen``, "begin"): then the verb in second position cannot be translated before its prefix is read.
    """
    root, english_side = roots(dice, rank)
    shape = dice.weighted(VERB_SHAPES) if bases else "simple"
    prefix, meaning = "", regular_or_strong(dice, english_side)
    if shape == "simple":
        strong = german.can_be_strong(root) and dice.chance(STRONG_GERMAN)
        conjugation = german.strong_verb(root) if strong else german.weak_verb(spell(root))
    elif shape == "ieren":
        conjugation = german.weak_verb(spell(root) + "ier", ge=False)
        meaning = english.regular_verb(spell(english_side) + "ate")
    else:
        base = dice.early(bases)
        conjugation = base.german
        if shape == "inseparable":
            conjugation = conjugation.prefixed(dice.pick(INSEPARABLE))
        else:
            prefix = dice.pick(SEPARABLE)
            if prefix in PARTICLES and base.transparent and dice.chance(0.6):
                meaning = base.english._replace(particle=PARTICLES[prefix])
    frame = kind.partition(":")[0]
    is_motion = frame == "motion" or (frame == "intransitive" and dice.chance(0.4))
    preposition = dice.pick(GOVERNED) if frame == "prepositional" else None
    return Verb(conjugation, meaning, kind, prefix, "sein" if is_motion else "haben", preposition)


def regular_or_strong(dice: Dice, root: Root) -> english.Inflection:
    """The inflection of an English verb."""
    if root[-1].nucleus in english.ABLAUT and dice.chance(STRONG_ENGLISH):
        return english.strong_verb(root)
    return english.regular_verb(spell(root))


def first_name(dice: Dice) -> Name:
    """``Klira`` is a woman, ``Dreno`` a man: no name ends like another's genitive."""
    gender: Literal["m", "f"] = dice.pick(("m", "f"))
    ending = dice.pick(("a", "ina", "e")) if gender == "f" else dice.pick(("o", "rich", "an"))
    return Name(spell(german_root(dice, 0.3)).capitalize() + ending, gender)


def surname(dice: Dice) -> Name:
    """``Schnelbach``."""
    return Name(spell(german_root(dice, 0.3)).capitalize() + dice.pick(("mann", "er", "feld", "bach")))


def town(dice: Dice) -> Name:
    """``Grumdorf``."""
    return Name(spell(german_root(dice, 0.3)).capitalize() + dice.pick(("dorf", "burg", "heim", "au")))
