"""Clauses: one plan, put in order for German (verb second, verb first, verb final) and for English (always SVO)."""

from __future__ import annotations

from dataclasses import dataclass, field

from synthetic import english, german
from synthetic.phrases import Phrase
from synthetic.words import Verb

Words = list[str]

# The German middle field from left to right. Pronouns and definite objects come before the adverbials, indefinite
# objects after them; what belongs closest to the verb stands last.
GERMAN_ORDER = (
    "pronoun",
    "dative",
    "definite object",
    "time",
    "negation",
    "frequency",
    "place",
    "object",
    "manner",
    "prepositional",
    "direction",
    "predicate",
)
# What follows the English verb group.
ENGLISH_ORDER = ("dative", "object", "predicate", "prepositional", "direction", "manner", "place", "time")


@dataclass(slots=True, eq=False)
class Part:
    """A constituent besides subject and verb. ``slot`` is its place in :data:`GERMAN_ORDER`, ``role`` in English."""

    role: str
    german: Words
    english: Words
    slot: str = ""
    marked: bool = False

    def __post_init__(self) -> None:
        self.slot = self.slot or self.role


@dataclass(slots=True)
class Clause:
    """Everything a clause says, in no order yet.

    ``tense`` is the German tense, ``meaning`` the English one. They differ where the adverb decides: ``hat ...
    gestern`` is a past, present with ``morgen`` a future. In a relative clause ``subject`` may be the head that the
    clause describes: then it is agreed with and not said.
    """

    subject: Phrase
    verb: Verb
    tense: english.Tense
    meaning: english.Tense
    negated: bool = False
    frequency: tuple[str, str] | None = None
    parts: list[Part] = field(default_factory=list)
    silent_subject: bool = False

    @property
    def finite(self) -> str:
        """The German finite verb, without its separable prefix."""
        person = self.subject.person
        if self.tense == "perfect":
            return (german.HABEN if self.verb.auxiliary == "haben" else german.SEIN)[0][person]
        if self.tense == "future":
            return german.WERDEN[person]
        if self.tense in german.MODALS:
            return german.MODALS[self.tense][person]
        return (self.verb.german.past if self.tense == "past" else self.verb.german.present)[person]

    @property
    def bracket(self) -> str:
        """What closes a verb-second clause: a participle, an infinitive, a separable prefix or nothing."""
        if self.tense == "perfect":
            return self.verb.participle
        if self.tense in ("present", "past"):
            return self.verb.prefix
        return self.verb.infinitive

    def german_middle(self, without: Part | None = None) -> Words:
        """The middle field, but for the subject."""
        parts = [part for part in self.parts if part is not without]
        if self.negated and not any(part.slot == "negation" for part in parts):
            parts.append(Part("negation", ["nicht"], []))
        if self.frequency:
            parts.append(Part("frequency", [self.frequency[0]], []))
        return [word for part in sorted(parts, key=lambda part: GERMAN_ORDER.index(part.slot)) for word in part.german]

    def verb_second(self, front: Part | None = None) -> Words:
        """Declarative main clause, with the subject or ``front`` before the verb."""
        if front is None:
            return [*self.subject.german, self.finite, *self.german_middle(), *self._closing()]
        return [*front.german, *self.verb_first(front)]

    def verb_first(self, without: Part | None = None) -> Words:
        """Question, or main clause whose first position is taken by something outside it."""
        return [self.finite, *self.subject.german, *self.german_middle(without), *self._closing()]

    def verb_final(self) -> Words:
        """Subordinate clause: the finite verb last, its prefix joined to it."""
        subject = [] if self.silent_subject else self.subject.german
        if self.tense in ("present", "past"):
            return [*subject, *self.german_middle(), self.verb.prefix + self.finite]
        return [*subject, *self.german_middle(), self.bracket, self.finite]

    def _closing(self) -> Words:
        return [self.bracket] if self.bracket else []

    def english_statement(self, without: Part | None = None) -> Words:
        """Subject, verb, objects, adverbials."""
        group = english.verb_group(self.verb.english, self.meaning, self.subject.person, self.negated)
        subject = [] if self.silent_subject else self.subject.english
        auxiliary = [group.auxiliary] if group.auxiliary else []
        return [*subject, *auxiliary, *self._after_auxiliary(group), *self._english_tail(without)]

    def english_question(self) -> Words:
        """Auxiliary, subject, verb, objects, adverbials."""
        group = english.verb_group(self.verb.english, self.meaning, self.subject.person, do_support=True)
        return [group.auxiliary, *self.subject.english, *self._after_auxiliary(group), *self._english_tail()]

    def _after_auxiliary(self, group: english.VerbGroup) -> Words:
        negation = ["not"] if self.negated else []
        adverb = [self.frequency[1]] if self.frequency else []
        return [*negation, *adverb, *group.rest]

    def _english_tail(self, without: Part | None = None) -> Words:
        parts = [part for part in self.parts if part is not without]
        return [word for role in ENGLISH_ORDER for part in parts if part.role == role for word in part.english]
