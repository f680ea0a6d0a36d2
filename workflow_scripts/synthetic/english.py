"""English-like inflection and the English verb group."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from synthetic.german import FIRST, THIRD
from synthetic.phonology import Root, ablaut, spell

Tense = Literal["present", "past", "perfect", "future", "can", "must", "should", "may", "want"]


def _sibilant(word: str) -> bool:
    return word.endswith(("s", "x", "z", "ch", "sh"))


def add_s(word: str) -> str:
    """Plural of a noun, third person of a verb."""
    if re.search("[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if _sibilant(word) else "s")


def add_vowel_suffix(word: str, suffix: str) -> str:
    """``stop`` + ``er`` -> ``stopper``, ``carry`` + ``ed`` -> ``carried``, ``make`` + ``able`` -> ``makable``."""
    if suffix[0] != "i" and re.search("[^aeiou]y$", word):
        return word[:-1] + "i" + suffix
    if word.endswith("e") and not word.endswith("ee"):
        return word[:-1] + suffix
    if re.search("(^|[^aeiou])[aeiou][bdgklmnprt]$", word):
        return word + word[-1] + suffix
    return word + suffix


def add_ly(word: str) -> str:
    """``slow`` -> ``slowly``, ``happy`` -> ``happily``."""
    return re.sub("(?<=[^aeiou])y$", "i", word) + "ly"


class Inflection(NamedTuple):
    """Forms of an English verb and the particle that follows it (``back`` in ``give back``), if any."""

    base: str
    third: str
    past: str
    participle: str
    particle: str = ""


def regular_verb(base: str, particle: str = "") -> Inflection:
    """``walk, walks, walked, walked``."""
    past = add_vowel_suffix(base, "ed")
    return Inflection(base, add_s(base), past, past, particle)


ABLAUT = {"i": ("a", "u"), "ee": ("e", "e"), "oo": ("o", "o"), "ea": ("o", "o"), "oi": ("o", "i")}


def strong_verb(root: Root) -> Inflection:
    """``sing, sings, sang, sung``."""
    base = spell(root)
    past, participle = (spell(ablaut(root, vowel)) for vowel in ABLAUT[root[-1].nucleus])
    return Inflection(base, add_s(base), past, participle)


BE = Inflection("be", "is", "was", "been")
WANT = regular_verb("want")


class VerbGroup(NamedTuple):
    """The words of an English verb group.

    ``auxiliary`` goes before the subject of a question; it is empty where a statement has none. ``rest`` follows
    ``not`` and the adverb of frequency.
    """

    auxiliary: str
    rest: tuple[str, ...]


def _be(person: int, past: bool) -> str:
    if past:
        return "were" if person not in (FIRST, THIRD) else "was"
    return {FIRST: "am", THIRD: "is"}.get(person, "are")


def verb_group(verb: Inflection, tense: Tense, person: int, do_support: bool) -> VerbGroup:
    """The verb in a tense, agreeing with its subject.

    ``do_support`` is for negation and questions: ``does not sing``, ``did she sing``. It changes nothing where the
    tense has an auxiliary of its own.
    """
    tail = (verb.particle,) if verb.particle else ()
    third = person == THIRD
    if tense == "perfect":
        return VerbGroup("has" if third else "have", (verb.participle, *tail))
    if tense == "future":
        return VerbGroup("will", (verb.base, *tail))
    if tense == "want":
        tail = ("to", verb.base, *tail)
        verb, tense = WANT, "present"
    elif tense not in ("present", "past"):
        return VerbGroup(tense, (verb.base, *tail))
    if verb is BE:
        return VerbGroup(_be(person, tense == "past"), tail)
    if do_support:
        auxiliary = "did" if tense == "past" else "does" if third else "do"
        return VerbGroup(auxiliary, (verb.base, *tail))
    return VerbGroup("", (verb.past if tense == "past" else verb.third if third else verb.base, *tail))
