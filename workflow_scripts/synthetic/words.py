"""Lexeme types: a German-like word, its translation, and what the grammar must know of both.

The lexicon keeps the forms of every lexeme apart from those of all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

from synthetic import english
from synthetic.german import Case, Conjugation, Gender

Sense = Literal["person", "thing", "place", "idea"]
Owner = tuple[str, str]  # German possessive stem and English possessive: ("sein", "his")


@dataclass(frozen=True, slots=True, eq=False)
class Noun:
    """A noun in one meaning.

    ``forms`` is as :func:`synthetic.german.noun_forms` gives it. A *homograph* shares its spelling and gender with a
    noun of another sense: only the word that governs it shows which is meant. A *twin* shares its spelling with a
    noun of another gender and has no plural: only its determiner decides. ``linker`` joins it to the head of a
    compound; ``None`` keeps it out of compounds.
    """

    lemma: str
    gender: Gender
    forms: dict[str, tuple[str, ...]]
    english: str
    sense: Sense
    linker: str | None = None
    homograph: bool = False
    twin: bool = False

    @property
    def key(self) -> str:
        """Identifies this lexeme."""
        return f"{self.lemma}/{self.gender}/{self.sense}"

    @property
    def german_forms(self) -> set[str]:
        """All forms of its German inflection."""
        return {form for cases in self.forms.values() for form in cases}

    @property
    def english_forms(self) -> set[str]:
        """All forms of its translation."""
        return {self.english, english.add_s(self.english)}

    @property
    def transparent(self) -> bool:
        """Whether the spelling alone determines the translation, so that other words may be derived from it."""
        return not (self.homograph or self.twin)

    def compound(self, modifier: Noun) -> Noun:
        """``modifier`` + this noun, in one German word and two English ones."""
        stem = modifier.lemma + (modifier.linker or "")
        forms = {number: tuple(stem + form.lower() for form in cases) for number, cases in self.forms.items()}
        translation = f"{modifier.english} {self.english}"
        return replace(self, lemma=stem + self.lemma.lower(), forms=forms, english=translation, linker=None)


@dataclass(frozen=True, slots=True, eq=False)
class Adjective:
    """An adjective. An ambiguous one has another translation of persons (``english``) than of the rest (``other``)."""

    stem: str
    english: str
    other: str

    @property
    def key(self) -> str:
        """Identifies this lexeme."""
        return f"{self.stem}/adjective"

    @property
    def german_forms(self) -> set[str]:
        """All forms of its German inflection."""
        return {self.stem + ending for ending in ("", "e", "en", "er", "es", "em")}

    @property
    def english_forms(self) -> set[str]:
        """All forms of its translation."""
        return {self.english, self.other, english.add_ly(self.english)}

    @property
    def transparent(self) -> bool:
        """Whether the translation does not depend on the noun."""
        return self.english == self.other

    def translation(self, sense: Sense) -> str:
        """The English adjective for a noun of this sense."""
        return self.english if sense == "person" else self.other


@dataclass(frozen=True, slots=True)
class Preposition:
    """A preposition, the case it governs and its translation."""

    german: str
    case: Case
    english: str


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """A verb in one meaning.

    ``german`` is conjugated without the separable ``prefix``. ``kind`` is a verb kind of the lexicon, such as
    ``transitive:person``. A verb that is not ``transparent`` shares its spelling with one whose object has another
    sense. ``preposition`` is the one it governs: ``auf`` is "for" with one verb and "on" with another.
    """

    german: Conjugation
    english: english.Inflection
    kind: str
    prefix: str = ""
    auxiliary: Literal["haben", "sein"] = "haben"
    preposition: Preposition | None = None
    transparent: bool = True

    @property
    def key(self) -> str:
        """Identifies this lexeme."""
        return f"{self.infinitive}/{self.kind}"

    @property
    def frame(self) -> str:
        """The part of ``kind`` that says which objects the verb takes."""
        return self.kind.partition(":")[0]

    @property
    def object_sense(self) -> Sense:
        """Of which sense the direct or prepositional object is."""
        return cast(Sense, self.kind.partition(":")[2] or "thing")

    @property
    def infinitive(self) -> str:
        """The infinitive, prefix included."""
        return self.prefix + self.german.infinitive

    @property
    def participle(self) -> str:
        """The participle, prefix included."""
        return self.prefix + self.german.participle

    @property
    def german_forms(self) -> set[str]:
        """All forms of its German inflection."""
        finite = (*self.german.present, *self.german.past)
        return {self.infinitive, self.participle, *(self.prefix + form for form in finite)}

    @property
    def english_forms(self) -> set[str]:
        """All forms of its translation."""
        # a particle verb ("give back") differs from its base by the particle and shares the base's forms
        return set() if self.english.particle else set(self.english[:4])


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A name, the same in both languages. ``gender`` is empty for towns and surnames."""

    text: str
    gender: Literal["m", "f", ""] = ""

    @property
    def key(self) -> str:
        """Identifies this lexeme."""
        return f"{self.text}/name"

    @property
    def german_forms(self) -> set[str]:
        """All forms of its German inflection."""
        return {self.text, self.text + "s"}

    @property
    def english_forms(self) -> set[str]:
        """All forms of its translation."""
        return {self.text}


Lexeme = Noun | Adjective | Verb | Name
