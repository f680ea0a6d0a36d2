"""Adverbials of time, frequency, manner, place and direction."""

from __future__ import annotations

from synthetic import english
from synthetic.clauses import Clause, Part
from synthetic.dice import Dice
from synthetic.lexicon import Lexicon
from synthetic.phrases import Phrases, Request
from synthetic.words import Preposition

PAST = {
    ("gestern", "yesterday"): 0.4,
    ("letzte Woche", "last week"): 0.2,
    ("letzten Monat", "last month"): 0.1,
    ("im Jahr", "in"): 0.3,
}
PRESENT = {("heute", "today"): 0.5, ("jetzt", "now"): 0.3, ("jeden Tag", "every day"): 0.2}
FUTURE = {("morgen", "tomorrow"): 0.5, ("bald", "soon"): 0.3, ("nächste Woche", "next week"): 0.2}
YEARS = (1500, 1999)
FREQUENCY = {("oft", "often"): 0.4, ("immer", "always"): 0.3, ("manchmal", "sometimes"): 0.2, ("nie", "never"): 0.1}
# the same preposition is translated by its case: "in dem Haus" is in, "in das Haus" is into
PLACES = {
    Preposition("in", "dat", "in"): 0.45,
    Preposition("auf", "dat", "on"): 0.15,
    Preposition("an", "dat", "at"): 0.15,
    Preposition("hinter", "dat", "behind"): 0.1,
    Preposition("neben", "dat", "beside"): 0.1,
    Preposition("unter", "dat", "under"): 0.05,
}
DIRECTIONS = {
    Preposition("in", "acc", "into"): 0.5,
    Preposition("auf", "acc", "onto"): 0.25,
    Preposition("an", "acc", "to"): 0.25,
}
TOWN_PLACE, TOWN_DIRECTION = ("in", "in"), ("nach", "to")
TOWNS = 0.35


def add_time(clause: Clause, dice: Dice) -> None:
    """Add an adverbial of time that fits the German tense, and give the English the tense that fits the adverbial."""
    if clause.tense in ("past", "perfect"):
        word, translation = dice.weighted(PAST)
        if word == "im Jahr":
            year = dice.between(*YEARS)
            word, translation = f"{word} {year}", f"{translation} {year}"
        clause.meaning = "past"
    elif clause.tense == "future" or dice.chance(0.4):
        word, translation = dice.weighted(FUTURE)
        clause.meaning = "future" if clause.tense == "present" else clause.tense
    else:
        word, translation = dice.weighted(PRESENT)
    clause.parts.append(Part("time", word.split(), translation.split()))


def add_frequency(clause: Clause, dice: Dice) -> None:
    """Add ``oft``, ``immer``, ``manchmal`` or, where the clause is not negated anyhow, ``nie``."""
    adverb = dice.weighted(FREQUENCY)
    if not (clause.negated and adverb[1] == "never"):
        clause.frequency = adverb


def add_manner(clause: Clause, lexicon: Lexicon) -> None:
    """Add an adverb: in German the bare adjective, in English with ``-ly``."""
    adjective = lexicon.draw("adjective", lambda word: word.transparent)
    clause.parts.append(Part("manner", [adjective.stem], [english.add_ly(adjective.english)]))


def add_location(clause: Clause, role: str, phrases: Phrases, request: Request) -> None:
    """Add a ``place`` (dative) or a ``direction`` (accusative)."""
    dice = phrases.dice
    if dice.chance(TOWNS):
        town = phrases.lexicon.draw("town").text
        word, translation = TOWN_PLACE if role == "place" else TOWN_DIRECTION
        clause.parts.append(Part(role, [word, town], [translation, town]))
        return
    preposition = dice.weighted(PLACES if role == "place" else DIRECTIONS)
    phrase = phrases.nominal("place", preposition.case, request)
    clause.parts.append(Part(role, *phrases.prepositional(preposition, phrase)))
