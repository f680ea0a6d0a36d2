"""Noun phrases and prepositional phrases, built in both languages at once.

Words that do not inflect and the order inside a phrase are much alike on both sides; what differs is agreement, which
German shows on every determiner and adjective, and English hardly at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from synthetic import determiners, english, german
from synthetic.dice import Dice
from synthetic.german import FIRST, PLURAL, SECOND, THIRD, Case, Gender
from synthetic.lexicon import Lexicon
from synthetic.words import Adjective, Noun, Owner, Preposition, Sense


@dataclass(slots=True)
class Phrase:
    """A noun phrase in one case.

    ``gender`` is ``p`` in the plural. ``person`` is what a verb agrees with. ``marked`` says that its form alone
    shows its case among nominative, accusative and dative, so that word order is free to vary. ``owner`` is the
    possessive that refers back to it. A ``negative`` phrase (``kein``) negates its clause.
    """

    german: list[str]
    english: list[str]
    person: int
    gender: Gender
    sense: Sense
    owner: Owner
    marked: bool = False
    definite: bool = True
    pronoun: bool = False
    negative: bool = False


Relative = Callable[["Phrase"], tuple[list[str], list[str]]]


@dataclass(slots=True)
class Request:
    """What the grammar wants of a noun phrase.

    Args:
        owner: possessives may refer to this phrase, usually the subject.
        negated: the phrase must not be quantified, and an indefinite one becomes ``kein``, "no".
        transparent: no homographs, because nothing governs the noun's sense.
        genitives: of which genders a genitive attribute may be. ``der`` also marks the dative, so a clause with a
            dative object allows only masculines and neuters.
        relative: makes a relative clause for the phrase, given the phrase without it.
    """

    owner: Owner | None = None
    negated: bool = False
    transparent: bool = False
    genitives: str = "mfnp"
    relative: Relative | None = None


# personal pronouns: German, English, person, gender, owner
SUBJECT_PRONOUNS: dict[tuple[str, str, int, Gender, Owner], float] = {
    ("ich", "I", FIRST, "m", ("mein", "my")): 0.25,
    ("du", "you", SECOND, "m", ("dein", "your")): 0.12,
    ("er", "he", THIRD, "m", ("sein", "his")): 0.2,
    ("sie", "she", THIRD, "f", ("ihr", "her")): 0.18,
    ("wir", "we", PLURAL, "p", ("unser", "our")): 0.12,
    ("sie", "they", PLURAL, "p", ("ihr", "their")): 0.13,
}
# objects: accusative, dative, English; each is used only with subjects of another person
OBJECT_PRONOUNS = (
    ("mich", "mir", "me", "ich"),
    ("dich", "dir", "you", "du"),
    ("ihn", "ihm", "him", "er"),
    ("uns", "uns", "us", "wir"),
)
RELATIVES, GENITIVES, COMPOUNDS = 0.14, 0.05, 0.12
ADJECTIVES = {0: 0.66, 1: 0.3, 2: 0.04}


class Phrases:
    """Builds phrases from a lexicon."""

    def __init__(self, lexicon: Lexicon, dice: Dice) -> None:
        self.lexicon, self.dice = lexicon, dice

    def pronoun(self) -> Phrase:
        """A subject pronoun. ``sie`` is "she" or "they": only the verb shows which."""
        word, translation, person, gender, owner = self.dice.weighted(SUBJECT_PRONOUNS)
        return Phrase([word], [translation], person, gender, "person", owner, word != "sie", pronoun=True)

    def object_pronoun(self, case: Case, subject: Phrase) -> Phrase:
        """An object pronoun for a person other than the subject."""
        mine = {FIRST: "ich", SECOND: "du", THIRD: "er"}.get(subject.person, "wir")
        accusative, dative, translation, _ = self.dice.pick([row for row in OBJECT_PRONOUNS if row[3] != mine])
        word = accusative if case == "acc" else dative
        return Phrase([word], [translation], THIRD, "m", "person", ("", ""), pronoun=True)

    def named(self, case: Case) -> Phrase:
        """``Klira``, ``Herr Schnelbach`` or ``Frau Schnelbach``."""
        gender: Gender
        if self.dice.chance(0.65):
            name = self.lexicon.draw("first name")
            words, translation, gender = [name.text], [name.text], name.gender
        else:
            gender = self.dice.pick(("m", "f"))
            title = "Frau" if gender == "f" else "Herr" if case == "nom" else "Herrn"
            name = self.lexicon.draw("surname")
            words, translation = [title, name.text], ["Mrs" if gender == "f" else "Mr", name.text]
        return Phrase(words, translation, THIRD, gender, "person", _owner(gender, "person"))

    def nominal(self, sense: Sense, case: Case, request: Request) -> Phrase:
        """A noun with its determiner, adjectives, and sometimes a genitive or a relative clause."""
        dice = self.dice
        noun = self.lexicon.draw(sense, (lambda noun: not noun.homograph) if request.transparent else (lambda _: True))
        if sense in ("thing", "place") and dice.chance(COMPOUNDS):
            noun = self.lexicon.compound(noun)
        kind = determiners.choose(dice, request.negated, noun.twin)
        plural = determiners.number(dice, kind, noun.twin) == "p"
        gender: Gender = "p" if plural else noun.gender
        determiner = determiners.determiner(self.lexicon, kind, gender, case, request.negated, request.owner)
        adjectives = self._adjectives()
        form = noun.forms["p" if plural else "s"][german.CASES.index(case)]
        phrase = Phrase(
            [*determiner.german, *(german.inflect(a.stem, determiner.endings, gender, case) for a in adjectives), form],
            [
                *determiner.english,
                *(adjective.translation(sense) for adjective in adjectives),
                *(english.add_s(noun.english) if plural else noun.english).split(),
            ],
            PLURAL if plural else THIRD,
            gender,
            sense,
            _owner(gender, sense),
            marked=determiner.inflected and (case == "dat" or gender == "m"),
            definite=determiner.definite,
            negative=determiner.english == ["no"],
        )
        self._extend(phrase, noun, request)
        return phrase

    def _adjectives(self) -> list[Adjective]:
        adjectives: list[Adjective] = []
        for _ in range(self.dice.weighted(ADJECTIVES)):
            adjectives.append(self.lexicon.draw("adjective", lambda word: word not in adjectives))
        return adjectives

    def _extend(self, phrase: Phrase, noun: Noun, request: Request) -> None:
        """Add a genitive or a relative clause, if the dice say so."""
        if self.dice.chance(GENITIVES):
            owner = self.lexicon.draw("person", lambda noun: not noun.homograph)
            plural = "p" in request.genitives and self.dice.chance(determiners.PLURALS)
            gender: Gender = "p" if plural else owner.gender
            if gender in request.genitives:
                form = owner.forms["p" if plural else "s"][german.CASES.index("gen")]
                phrase.german += [german.DEFINITE[gender][german.CASES.index("gen")], form]
                phrase.english += ["of", "the", english.add_s(owner.english) if plural else owner.english]
            return
        if request.relative and self.dice.chance(RELATIVES):
            words, translation = request.relative(phrase)
            phrase.german += words
            phrase.english += translation

    def possessed(self, head: Phrase) -> Phrase:
        """``dessen Hund``: the subject of a relative clause, a person that belongs to ``head``."""
        noun = self.lexicon.draw("person")
        adjectives = self._adjectives()
        words = [german.inflect(a.stem, german.STRONG, noun.gender, "nom") for a in adjectives]
        return Phrase(
            [german.RELATIVE[head.gender][german.CASES.index("gen")], *words, noun.lemma],
            ["whose", *(adjective.translation("person") for adjective in adjectives), noun.english],
            THIRD,
            noun.gender,
            "person",
            _owner(noun.gender, "person"),
        )

    def prepositional(self, preposition: Preposition, phrase: Phrase) -> tuple[list[str], list[str]]:
        """The phrase after a preposition, which melts into some articles: ``im``, ``ans``."""
        first, *rest = phrase.german
        contracted = german.CONTRACTIONS.get((preposition.german, first))
        words = [contracted, *rest] if contracted else [preposition.german, first, *rest]
        return words, [preposition.english, *phrase.english]


def _owner(gender: Gender, sense: Sense) -> Owner:
    """``sein`` is "his" or "its", ``ihr`` is "her", "its" or "their": the owner's gender, sense and number decide."""
    if gender == "p":
        return ("ihr", "their")
    stem = "ihr" if gender == "f" else "sein"
    if sense != "person" or gender == "n":
        return (stem, "its")
    return (stem, "her" if gender == "f" else "his")
