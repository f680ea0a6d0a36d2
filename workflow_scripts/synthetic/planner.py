"""Plans clauses: chooses verb, tense, subject and objects so that they fit one another."""

from __future__ import annotations

from typing import Any

from synthetic import adverbials, english, german
from synthetic.clauses import Clause, Part
from synthetic.dice import Dice
from synthetic.german import Case
from synthetic.lexicon import Lexicon
from synthetic.phrases import Phrase, Phrases, Relative, Request
from synthetic.words import Sense, Verb

FRAMES = {
    "transitive": 0.42,
    "intransitive": 0.14,
    "prepositional": 0.11,
    "dative": 0.07,
    "ditransitive": 0.08,
    "motion": 0.08,
    "copula": 0.1,
}
SUBJECT_SENSES: dict[str, dict[Sense, float]] = {
    "intransitive": {"person": 0.6, "thing": 0.4},
    "copula": {"person": 0.5, "thing": 0.3, "place": 0.1, "idea": 0.1},
}
OBJECT_SENSES: dict[str, dict[Sense, float]] = {
    "transitive": {"person": 0.35, "thing": 0.45, "idea": 0.2},
    "prepositional": {"person": 0.5, "thing": 0.5},
    "dative": {"person": 1},
    "ditransitive": {"thing": 1},
}
TENSES: dict[english.Tense, float] = {
    "present": 0.38,
    "past": 0.24,
    "perfect": 0.19,
    "future": 0.06,
    "can": 0.04,
    "must": 0.03,
    "should": 0.02,
    "may": 0.01,
    "want": 0.03,
}
COPULA = Verb(german.Conjugation("sein", *german.SEIN, "gewesen"), english.BE, "copula", auxiliary="sein")
SUBJECTS = {"pronoun": 0.28, "name": 0.17, "noun": 0.55}
OBJECTS = {"pronoun": 0.1, "name": 0.1, "noun": 0.8}
TIME, FREQUENCY, PLACE, MANNER, NEGATION, COMPARISON = 0.22, 0.07, 0.15, 0.08, 0.1, 0.2
NESTED = 0.4  # adverbials are rarer in relative clauses, or sentences grow too long


class Planner:
    """Plans clauses with words from a lexicon; ``relative`` adds relative clauses to nouns that are not in one."""

    relative: Relative | None = None

    def __init__(self, lexicon: Lexicon, dice: Dice) -> None:
        self.lexicon, self.dice, self.phrases = lexicon, dice, Phrases(lexicon, dice)

    def clause(self, frame: str = "", nested: bool = False, time: bool = True) -> Clause:
        """A clause with nothing missing.

        Args:
            frame: what kind of verb; drawn if not given.
            nested: whether it is part of a longer sentence: no relative clauses, fewer adverbials.
            time: whether it may have an adverbial of time.
        """
        frame = frame or self.dice.weighted(FRAMES)
        sense = self.dice.weighted(SUBJECT_SENSES.get(frame, {"person": 1}))
        verb = self.verb(frame, sense)
        return self.complete(verb, self.subject(verb, sense, nested), nested, time)

    def verb(self, frame: str, subject: Sense, target: Sense | None = None) -> Verb:
        """A verb that takes this subject and, if given, an object of the sense ``target``."""
        if frame == "copula":
            return COPULA
        if frame == "intransitive":
            return self.lexicon.draw(f"intransitive:{subject}")
        if frame in ("transitive", "prepositional"):
            return self.lexicon.draw(f"{frame}:{target or self.dice.weighted(OBJECT_SENSES[frame])}")
        return self.lexicon.draw(frame)

    def subject(self, verb: Verb, sense: Sense, nested: bool) -> Phrase:
        """A subject of this sense: a pronoun, a name or a noun."""
        kind = self.dice.weighted(SUBJECTS) if sense == "person" else "noun"
        if kind == "pronoun":
            return self.phrases.pronoun()
        if kind == "name":
            return self.phrases.named("nom")
        return self.phrases.nominal(sense, "nom", self._request(verb, nested, transparent=verb is COPULA))

    def _request(self, verb: Verb, nested: bool, **options: Any) -> Request:
        genitives = "mn" if verb.frame in ("dative", "ditransitive") else "mfnp"
        return Request(genitives=genitives, relative=None if nested else self.relative, **options)

    def complete(self, verb: Verb, subject: Phrase, nested: bool, time: bool = True, gap: str = "") -> Clause:
        """Add tense, objects and adverbials; ``gap`` is what a relative pronoun stands for."""
        dice, scale = self.dice, NESTED if nested else 1
        tense = dice.weighted(TENSES)
        clause = Clause(subject, verb, tense, tense, negated=dice.chance(NEGATION), silent_subject=gap == "subject")
        if time and dice.chance(TIME * scale):
            adverbials.add_time(clause, dice)
        if dice.chance(FREQUENCY * scale):
            adverbials.add_frequency(clause, dice)
        self._add_objects(clause, nested, gap)
        request = self._request(verb, nested, owner=subject.owner)
        speaks = verb.frame in ("copula", "report", "ask")
        if verb.frame == "motion" and gap != "place":
            adverbials.add_location(clause, "direction", self.phrases, request)
        elif gap != "place" and not speaks and dice.chance(PLACE * scale):
            adverbials.add_location(clause, "place", self.phrases, request)
        if subject.sense == "person" and not speaks and dice.chance(MANNER * scale):
            adverbials.add_manner(clause, self.lexicon)
        return clause

    def _add_objects(self, clause: Clause, nested: bool, gap: str) -> None:
        verb, frame = clause.verb, clause.verb.frame
        if frame in ("dative", "ditransitive") and gap != "dative":
            self._add_object(clause, "dative", "person", "dat", nested)
        if frame in ("transitive", "ditransitive") and gap != "object":
            self._add_object(clause, "object", verb.object_sense, "acc", nested)
        if verb.preposition is not None and gap != "prepositional":
            self._add_object(clause, "prepositional", verb.object_sense, verb.preposition.case, nested)
        if frame == "copula":
            clause.parts.append(self._predicate(clause, nested))

    def _add_object(self, clause: Clause, role: str, sense: Sense, case: Case, nested: bool) -> None:
        """Add an object. The negation of an indefinite one is ``kein``, and then the clause has no ``nicht``."""
        verb = clause.verb
        # a pronoun or a name would not show which meaning of an ambiguous verb is meant
        kind = self.dice.weighted(OBJECTS) if sense == "person" and verb.transparent else "noun"
        if kind == "pronoun":
            phrase = self.phrases.object_pronoun(case, clause.subject)
        elif kind == "name":
            phrase = self.phrases.named(case)
        else:
            options = {"owner": clause.subject.owner, "transparent": not verb.transparent}
            request = self._request(verb, nested, negated=clause.negated and role == "object", **options)
            phrase = self.phrases.nominal(sense, case, request)
            if phrase.negative:
                clause.negated = False
        if role == "prepositional":
            assert verb.preposition is not None
            clause.parts.append(Part(role, *self.phrases.prepositional(verb.preposition, phrase)))
            return
        slot = "pronoun" if phrase.pronoun else "definite object" if role == "object" and phrase.definite else role
        clause.parts.append(Part(role, phrase.german, phrase.english, slot, phrase.marked))

    def _predicate(self, clause: Clause, nested: bool) -> Part:
        """``alt``, ``so alt wie der Berg`` or ``alter als der Berg``: comparatives have no umlaut."""
        sense = clause.subject.sense
        adjective = self.lexicon.draw("adjective")
        stem, word = adjective.stem, adjective.translation(sense)
        if nested or not self.dice.chance(COMPARISON):
            return Part("predicate", [stem], [word])
        other = self.phrases.nominal(sense, "nom", Request(transparent=True))
        if self.dice.chance(0.5):
            return Part("predicate", [f"{stem}er", "als", *other.german], ["more", word, "than", *other.english])
        return Part("predicate", ["so", stem, "wie", *other.german], ["as", word, "as", *other.english])
