"""German-like inflection: determiners, adjectives, nouns and verbs.

The endings are those of German, as any school grammar prints them. Genders are ``m``, ``f``, ``n``, and ``p`` stands
for the plural, which knows no gender. Cases are ``nom``, ``acc``, ``dat`` and ``gen``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from synthetic.phonology import Root, ablaut, spell

Case = Literal["nom", "acc", "dat", "gen"]
Gender = Literal["m", "f", "n", "p"]
CASES: tuple[Case, ...] = ("nom", "acc", "dat", "gen")

# index into the four finite forms of a verb; "we" and "they" share the plural form
FIRST, SECOND, THIRD, PLURAL = range(4)

DEFINITE = {
    "m": ("der", "den", "dem", "des"),
    "f": ("die", "die", "der", "der"),
    "n": ("das", "das", "dem", "des"),
    "p": ("die", "die", "den", "der"),
}
RELATIVE = {
    "m": ("der", "den", "dem", "dessen"),
    "f": ("die", "die", "der", "deren"),
    "n": ("das", "das", "dem", "dessen"),
    "p": ("die", "die", "denen", "deren"),
}
# endings of dieser, jeder, alle ...; adjectives without a determiner differ only in the genitive, which is never bare
STRONG = {
    "m": ("er", "en", "em", "es"),
    "f": ("e", "e", "er", "er"),
    "n": ("es", "es", "em", "es"),
    "p": ("e", "e", "en", "er"),
}
# endings of ein, kein, mein ...
MIXED_DETERMINER = {**STRONG, "m": ("", "en", "em", "es"), "n": ("", "", "em", "es")}
WEAK_ADJECTIVE = {
    "m": ("e", "en", "en", "en"),
    "f": ("e", "e", "en", "en"),
    "n": ("e", "e", "en", "en"),
    "p": ("en", "en", "en", "en"),
}
MIXED_ADJECTIVE = {**WEAK_ADJECTIVE, "m": ("er", "en", "en", "en"), "n": ("es", "es", "en", "en")}
CONTRACTIONS = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("an", "dem"): "am",
    ("an", "das"): "ans",
    ("von", "dem"): "vom",
}

# auxiliaries and modals: present and past by person, infinitive, participle
HABEN = (("habe", "hast", "hat", "haben"), ("hatte", "hattest", "hatte", "hatten"))
SEIN = (("bin", "bist", "ist", "sind"), ("war", "warst", "war", "waren"))
WERDEN = ("werde", "wirst", "wird", "werden")
MODALS = {
    "can": ("kann", "kannst", "kann", "können"),
    "must": ("muss", "musst", "muss", "müssen"),
    "should": ("soll", "sollst", "soll", "sollen"),
    "may": ("darf", "darfst", "darf", "dürfen"),
    "want": ("will", "willst", "will", "wollen"),
}


def inflect(stem: str, endings: Mapping[str, tuple[str, ...]], gender: Gender, case: Case) -> str:
    """``stem`` with the ending of this gender and case."""
    return stem + endings[gender][CASES.index(case)]


def noun_forms(lemma: str, plural: str, gender: Gender, weak: bool) -> dict[str, tuple[str, ...]]:
    """The forms of a noun by number (``s``, ``p``), each in the order of :data:`CASES`."""
    dative = plural if plural[-1] in "ns" else plural + "n"
    if weak:  # n-declension: der Student, den Studenten
        oblique = plural
        singular = (lemma, oblique, oblique, oblique)
    elif gender == "f":
        singular = (lemma,) * 4
    else:
        long = lemma.endswith(("s", "ß", "z", "sch", "st"))
        singular = (lemma, lemma, lemma, lemma + ("es" if long else "s"))
    return {"s": singular, "p": (plural, plural, dative, plural)}


class Conjugation(NamedTuple):
    """Forms of a verb without its separable prefix; finite forms by person."""

    infinitive: str
    present: tuple[str, ...]
    past: tuple[str, ...]
    participle: str

    def prefixed(self, prefix: str) -> Conjugation:
        """The verb with an inseparable prefix: ``machen`` -> ``vermachen``, ``vermacht``."""
        present, past = (tuple(prefix + form for form in forms) for forms in (self.present, self.past))
        return Conjugation(prefix + self.infinitive, present, past, prefix + self.participle.removeprefix("ge"))


# vowel of the infinitive -> vowels of the second person present, the past and the participle
ABLAUT = {
    "ei": ("ei", "ie", "ie"),
    "ie": ("ie", "o", "o"),
    "i": ("i", "a", "u"),
    "e": ("i", "a", "o"),
    "a": ("ä", "u", "a"),
}


def _linking_e(stem: str) -> str:
    """``arbeit-e-t``, ``atm-e-t``: an e that keeps the ending audible."""
    nasal_cluster = len(stem) > 1 and stem[-1] in "mn" and stem[-2] not in "aeiouäöülrhmn"
    return "e" if stem[-1] in "td" or nasal_cluster else ""


def _second(stem: str, link: str) -> str:
    return stem + ("t" if stem[-1] in "sßz" else link + "st")


def weak_verb(stem: str, ge: bool = True) -> Conjugation:
    """Regular conjugation. Verbs in -ieren take no ``ge``."""
    link = _linking_e(stem)
    past = f"{stem}{link}te"
    return Conjugation(
        stem + "en",
        (stem + "e", _second(stem, link), f"{stem}{link}t", stem + "en"),
        (past, past + "st", past, past + "n"),
        f"{'ge' if ge else ''}{stem}{link}t",
    )


def can_be_strong(root: Root) -> bool:
    """Whether a root fits an ablaut class; a changed vowel before t or d would need further rules."""
    nucleus, coda = root[-1].nucleus, root[-1].coda
    if nucleus == "i":
        return coda in ("nd", "ng", "nk", "mm")
    return nucleus in ABLAUT and (nucleus in ("ei", "ie") or coda[-1] not in "td")


def strong_verb(root: Root) -> Conjugation:
    """Conjugation with ablaut: ``finden, fand, gefunden``."""
    stem = spell(root)
    second, past, participle = (spell(ablaut(root, vowel)) for vowel in ABLAUT[root[-1].nucleus])
    link = _linking_e(stem) if second == stem else ""
    past_second = past + ("est" if past[-1] in "sßztd" else "st")
    return Conjugation(
        stem + "en",
        (stem + "e", _second(second, link), second + link + "t", stem + "en"),
        (past, past_second, past, past + "en"),
        f"ge{participle}en",
    )
