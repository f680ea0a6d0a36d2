"""Reads German-like sentences back: what a word can be, by tables written down here apart from the generator's.

Gender ``p`` is the plural. An analysis is a pair of gender and case.
"""

from __future__ import annotations

import re

from synthetic.lexicon import Lexicon

CASES = ("nom", "acc", "dat", "gen")
GENDERS = "mfnp"
# forms in the order of GENDERS, cases in the order of CASES; "-" where there is none
DER = "der die das die | den die das die | dem der dem den | des der des der"
DIESER = "dieser diese dieses diese | diesen diese dieses diese | diesem dieser diesem diesen | - - - -"
JEDER = "jeder jede jedes - | jeden jede jedes - | jedem jeder jedem - | - - - -"
ALLE = "- - - alle | - - - alle | - - - allen | - - - -"
EIN = "ein eine ein - | einen eine ein - | einem einer einem - | - - - -"
POSSESSIVE = "X Xe X Xe | Xen Xe X Xe | Xem Xer Xem Xen | - - - -"
RELATIVE = "der die das die | den die das die | dem der dem denen | dessen deren dessen deren"
# adjective endings after der-words, after ein-words, and without a determiner
WEAK = "e e e en | en e e en | en en en en | en en en en"
MIXED = "er e es en | en e es en | en en en en | - - - -"
STRONG = "er e es e | en e es e | em er em en | - - - -"
CONTRACTED = {"im": "dat", "am": "dat", "vom": "dat", "ins": "acc", "ans": "acc"}
PREPOSITIONS = {
    "in": ("acc", "dat"),
    "auf": ("acc", "dat"),
    "an": ("acc", "dat"),
    "unter": ("dat",),
    "hinter": ("dat",),
    "neben": ("dat",),
    "über": ("acc",),
    "mit": ("dat",),
    "nach": ("dat",),
    "von": ("dat",),
}
PRONOUNS = {"ich", "du", "er", "sie", "wir"}
TIMES = {
    "gestern",
    "heute",
    "jetzt",
    "morgen",
    "bald",
    "letzte",
    "letzten",
    "nächste",
    "jeden",
    "Woche",
    "Monat",
    "Tag",
}
_AUXILIARIES = """
habe hast hat haben bin bist ist sind war warst waren werde wirst wird werden kann kannst können muss musst müssen soll
sollst sollen darf darfst dürfen will willst wollen
"""
_PREFIXES = "zurück weg aus auf ab ein an bei mit nach vor zu um los"
_NUMBER_ENDS = "(zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|ßig|zig|hundert|eins)$"
AUXILIARIES, PREFIXES = set(_AUXILIARIES.split()), set(_PREFIXES.split())


def table(text: str) -> dict[tuple[str, str], str]:
    """A table above, as (gender, case) -> form."""
    rows = [row.split() for row in text.split("|")]
    return {
        (gender, case): row[column]
        for case, row in zip(CASES, rows, strict=True)
        for column, gender in enumerate(GENDERS)
        if row[column] != "-"
    }


class Reader:
    """Recognises the words of one lexicon."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.nouns: dict[str, set[tuple[str, str]]] = {}  # form -> analyses
        for noun in (noun for kind in ("person", "thing", "place", "idea") for noun in lexicon.words[kind]):
            for number, forms in noun.forms.items():
                for case, form in zip(CASES, forms, strict=True):
                    self.nouns.setdefault(form, set()).add(("p" if number == "p" else noun.gender, case))
        self.stems = {word.stem for word in lexicon.words["adjective"]}
        self.names = {name.text for kind in ("first name", "surname", "town") for name in lexicon.words[kind]}
        verbs = [verb for kind, words in lexicon.words.items() if hasattr(words[0], "prefix") for verb in words]
        self.separated = {form for verb in verbs for form in (*verb.german.present, *verb.german.past)}
        self.finite = AUXILIARIES | {v.prefix + form for v in verbs for form in (*v.german.present, *v.german.past)}
        self.infinitives = {verb.infinitive for verb in verbs} | {"sein"}
        self.participles = {verb.participle for verb in verbs} | {"gewesen"}
        self.determiners: dict[str, list[tuple[tuple[str, str], dict]]] = {}
        for text, endings in ((DER, WEAK), (DIESER, WEAK), (JEDER, WEAK), (ALLE, WEAK), (EIN, MIXED)):
            self._add(text, endings)
        for stem in ("kein", "mein", "dein", "sein", "ihr", "unser"):
            self._add(POSSESSIVE.replace("X", stem), MIXED)

    def _add(self, text: str, endings: str) -> None:
        for analysis, form in table(text).items():
            self.determiners.setdefault(form, []).append((analysis, table(endings)))

    def simple_nouns(self, words: list[str]) -> list[int]:
        """Positions of nouns; compounds are not among them."""
        return [index for index, word in enumerate(words) if word in self.nouns]

    def phrase_start(self, words: list[str], noun: int) -> int:
        """Where the adjectives before a noun begin."""
        start = noun
        while start and self.is_adjective(words[start - 1]):
            start -= 1
        return start

    def is_adjective(self, word: str) -> bool:
        """Whether it is an inflected adjective."""
        return any(
            word.removesuffix(ending) in self.stems for ending in ("e", "en", "er", "es", "em") if ending in word
        )

    def analyses(self, words: list[str], noun: int) -> set[tuple[str, str]] | None:
        """What gender and case the phrase that ends in a noun can have; ``None`` without a determiner that shows it."""
        start = self.phrase_start(words, noun)
        before = words[start - 1] if start else ""
        if before in RELATIVE.split() and "," in words[max(0, start - 3) : start - 1]:
            return None  # ", dem Hunde folgen": the pronoun is not the noun's determiner
        before = before[0].lower() + before[1:] if before and before not in self.names else before
        if before in CONTRACTED:
            case, definite = CONTRACTED[before], table(DER)
            options = [(a, table(WEAK)) for a in definite if a[1] == case and a[0] in ("mn" if case == "dat" else "n")]
        else:
            options = self.determiners.get(before)
        if options is None:
            return None
        return {
            analysis
            for analysis, endings in options
            if analysis in self.nouns[words[noun]]
            and all(self._ends(word, endings[analysis]) for word in words[start:noun])
        }

    def _ends(self, adjective: str, ending: str) -> bool:
        return adjective.endswith(ending) and adjective.removesuffix(ending) in self.stems

    def tag(self, word: str) -> str:
        """One letter for what a word before the finite verb is."""
        low = word[0].lower() + word[1:]
        if word in ("Herr", "Frau", "Herrn") or word in self.names or word.removesuffix("s") in self.names:
            return "E"
        known = {"R": PRONOUNS, "D": self.determiners, "C": CONTRACTED, "P": PREPOSITIONS, "T": TIMES}
        for letter, words in known.items():
            if low in words or word in words:
                return letter
        if word in self.nouns:
            return "N"
        if self.is_adjective(low):
            return "A"
        if word.isdigit():
            return "Y"
        if re.search(_NUMBER_ENDS, low):
            return "#"
        return "N" if word[0].isupper() else "?"  # N: a compound

    def one_constituent(self, words: list[str]) -> bool:
        """Whether the words are one pronoun, name, noun phrase, prepositional phrase or adverbial of time."""
        tags = "".join(map(self.tag, words))
        noun_phrase = "(D|E|#)?A*N(DN)?"
        return bool(re.fullmatch(f"R|E+|{noun_phrase}|P({noun_phrase}|E)|CA*N(DN)?|[TD]?T|CNY", tags))
