"""Invented roots: what a German-like and an English-like word may sound like.

A root is one or two syllables of onset, nucleus and coda. About half of the English roots are cognates: the German
root put through regular sound laws (``Pfacht`` -> ``paght``, ``Zeil`` -> ``toil``), so that rare words can partly be
translated from their parts. The others have nothing in common with their German root and must be learnt by heart.
"""

from __future__ import annotations

from typing import NamedTuple

from synthetic.dice import Dice


class Syllable(NamedTuple):
    """Onset, nucleus and coda; the onset and the coda may be empty."""

    onset: str
    nucleus: str
    coda: str

    def __str__(self) -> str:
        return "".join(self)


Root = tuple[Syllable, ...]

# German sound -> the English sound of a cognate. The keys are also the German inventory.
ONSETS = {
    "b": "b", "br": "br", "bl": "bl", "d": "th", "dr": "thr", "f": "f", "fl": "fl", "fr": "fr", "g": "g", "gl": "gl",
    "gr": "gr", "h": "h", "j": "y", "k": "c", "kl": "cl", "kn": "kn", "kr": "cr", "l": "l", "m": "m", "n": "n",
    "p": "p", "pf": "p", "pfl": "pl", "pl": "pl", "r": "r", "s": "s", "sch": "sh", "schl": "sl", "schm": "sm",
    "schn": "sn", "schr": "shr", "schw": "sw", "sp": "sp", "st": "st", "str": "str", "t": "d", "tr": "dr", "w": "w",
    "z": "t", "zw": "tw",
}  # fmt: skip
NUCLEI = {
    "a": "a", "e": "e", "i": "i", "o": "o", "u": "u", "ä": "a", "ö": "e", "ü": "i",
    "au": "ou", "ei": "oi", "ie": "ee", "eu": "ea", "oh": "oa", "uh": "oo",
}  # fmt: skip
SHORT = tuple("aeiouäöü")
CODAS = {
    "b": "v", "f": "p", "g": "g", "l": "l", "m": "m", "n": "n", "r": "r", "s": "s", "t": "d",
}  # fmt: skip
CLUSTERS = {  # only after a short vowel
    "ck": "ck", "ft": "ft", "lb": "lf", "ld": "ld", "lf": "lp", "ll": "ll", "lm": "lm", "lt": "ld", "lz": "lt",
    "mm": "mm", "mpf": "mp", "nd": "nd", "ng": "ng", "nk": "nk", "nz": "nt", "pf": "pp", "rb": "rv", "rf": "rp",
    "rg": "rrow", "rk": "rk", "rm": "rm", "rn": "rn", "rt": "rd", "rz": "rt", "sch": "sh", "ss": "tt", "st": "st",
    "tz": "t", "cht": "ght",
}  # fmt: skip
ENGLISH_ONSETS = tuple(dict.fromkeys([*ONSETS.values(), "ch", "qu", "scr", "wh", "v", ""]))
ENGLISH_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "oa", "oo", "ou")
ENGLISH_CODAS = ("b", "d", "g", "k", "l", "m", "n", "p", "r", "t", "sh", "th")
ENGLISH_CLUSTERS = (
    "ck", "ft", "ld", "lk", "ll", "mp", "nch", "nd", "ng", "nk", "nt", "pt", "rd", "rk", "rm", "sk", "ss", "tch",
)  # fmt: skip


def german_root(dice: Dice, long: float) -> Root:
    """A root of one closed syllable, with an open one before it with probability ``long``."""
    nucleus = dice.pick(tuple(NUCLEI))
    coda = dice.pick(tuple(CLUSTERS) if nucleus in SHORT and dice.chance(0.6) else tuple(CODAS))
    last = Syllable(dice.pick(tuple(ONSETS)), nucleus, coda)
    if not dice.chance(long):
        return (last,)
    return (Syllable(dice.pick(tuple(ONSETS)), dice.pick("aeiou"), ""), last)


def cognate(root: Root) -> Root:
    """The English root that the sound laws make of a German one."""
    return tuple(
        Syllable(ONSETS[onset], NUCLEI[nucleus], {"": "", **CODAS, **CLUSTERS}[coda]) for onset, nucleus, coda in root
    )


def english_root(dice: Dice, long: float) -> Root:
    """An English root unrelated to any German one."""
    nucleus = dice.pick(ENGLISH_NUCLEI)
    coda = dice.pick(ENGLISH_CLUSTERS if len(nucleus) == 1 and dice.chance(0.6) else ENGLISH_CODAS)
    last = Syllable(dice.pick(ENGLISH_ONSETS), nucleus, coda)
    if not dice.chance(long):
        return (last,)
    return (Syllable(dice.pick(ENGLISH_ONSETS), dice.pick("aeiou"), ""), last)


def spell(root: Root) -> str:
    """The root as a string."""
    return "".join(map(str, root))


def ablaut(root: Root, nucleus: str) -> Root:
    """The root with another vowel in its last syllable."""
    return (*root[:-1], root[-1]._replace(nucleus=nucleus))
