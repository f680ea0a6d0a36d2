"""The vocabulary: lists of lexemes by kind, each drawn by Zipf's law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ekd_nmt.common.errors import UserError
from synthetic import coinage, derivation, reserved
from synthetic.dice import Dice, Ranked
from synthetic.english import Inflection
from synthetic.german import noun_forms
from synthetic.phonology import spell
from synthetic.words import Adjective, Lexeme, Noun, Sense, Verb

Word = TypeVar("Word", bound=Lexeme)

# share of each kind in the lexicon; verbs first, because other words derive from them
SHARES = {
    "transitive:person": 0.05,
    "transitive:thing": 0.07,
    "transitive:idea": 0.03,
    "intransitive:person": 0.03,
    "intransitive:thing": 0.015,
    "prepositional:person": 0.015,
    "prepositional:thing": 0.015,
    "dative": 0.015,
    "ditransitive": 0.015,
    "motion": 0.015,
    "report": 0.015,
    "ask": 0.005,
    "person": 0.14,
    "thing": 0.19,
    "place": 0.07,
    "adjective": 0.15,
    "idea": 0.08,
    "first name": 0.04,
    "surname": 0.02,
    "town": 0.02,
}
NOUN_KINDS: tuple[Sense, ...] = ("person", "thing", "place", "idea")
NAME_KINDS = {"first name": coinage.first_name, "surname": coinage.surname, "town": coinage.town}
SMALLEST, LARGEST = 200, 20_000
DERIVED = 0.8  # probability of derivation for the rarest words; it falls to 0 for the most frequent
ATTEMPTS = 2_000
# which ranks are ambiguous: fixed steps, so that every lexicon has frequent and rare ones
HOMOGRAPH_STEP, TWIN_STEP, VERB_STEP, ADJECTIVE_STEP = 12, 25, 8, 8


class Lexicon:
    """The lexemes, and which of them the current sentence has used.

    Args:
        size: number of lexemes, about (every kind has at least three).
        exponent: of Zipf's law within each kind.
        dice: source of all draws, here and in :meth:`draw`.

    Raises:
        UserError: the size is out of range, or the sound patterns do not give that many distinct words.
    """

    def __init__(self, size: int, exponent: float, dice: Dice) -> None:
        if not SMALLEST <= size <= LARGEST:
            raise UserError(f"--lexicon {size}: choose between {SMALLEST} and {LARGEST} lemmas")
        self.dice = dice
        self.used: list[str] = []  # keys of the lexemes drawn since the caller last cleared it
        self._german, self._english = set(reserved.GERMAN), set(reserved.ENGLISH)
        self.words: dict[str, list] = {kind: [] for kind in [*SHARES, "verb"]}
        for kind, share in SHARES.items():
            self._fill(kind, max(3, round(size * share)))
        self._ranked = {kind: Ranked(words, exponent) for kind, words in self.words.items() if kind in SHARES}
        self._modifiers, self._heads = self._compound_parts()

    def draw(self, kind: str, accept: Callable[[Any], bool] = lambda word: True) -> Any:
        """A lexeme of ``kind`` that ``accept`` agrees to; the caller makes sure that there is one."""
        word = self._ranked[kind].draw(self.dice)
        while not accept(word):
            word = self._ranked[kind].draw(self.dice)
        self.used.append(word.key)
        return word

    def compound(self, head: Noun) -> Noun:
        """``head`` with a modifier before it, or ``head`` alone where the whole could be read in two ways."""
        modifier = self._ranked[self.dice.pick(("thing", "place", "idea"))].draw(self.dice)
        if modifier.linker is None or not modifier.transparent or not head.transparent:
            return head
        whole = head.compound(modifier)
        if any(self._readings(form.lower()) != 1 for form in whole.german_forms):
            return head
        self.used.append(modifier.key)
        return whole

    def _readings(self, form: str) -> int:
        """In how many ways a form can be taken: as a word of the lexicon and as modifier + head, wherever split."""
        splits = (self._modifiers.get(form[:cut], 0) * self._heads.get(form[cut:], 0) for cut in range(1, len(form)))
        return (form in self._german) + sum(splits)

    def _compound_parts(self) -> tuple[dict[str, int], dict[str, int]]:
        """How many nouns give each modifier string, and each head string."""
        modifiers: dict[str, int] = {}
        heads: dict[str, int] = {}
        for noun in (noun for kind in NOUN_KINDS for noun in self.words[kind] if noun.transparent):
            if noun.linker is not None:
                string = (noun.lemma + noun.linker).lower()
                modifiers[string] = modifiers.get(string, 0) + 1
            for form in noun.german_forms:
                heads[form.lower()] = heads.get(form.lower(), 0) + 1
        return modifiers, heads

    def _fill(self, kind: str, count: int) -> None:
        words = self.words[kind]
        while len(words) < count:
            index, rank = len(words), len(words) / count
            if kind in NOUN_KINDS:
                words.extend(self._nouns(kind, index, rank, room=count - index))
            elif kind == "adjective":
                words.append(self._adjective(index, rank))
            elif kind in NAME_KINDS:
                words.append(self._coin(partial(NAME_KINDS[kind], self.dice)))
            else:
                words.append(self._verb(kind, index, rank))

    def _coin(self, candidate: Callable[[], Word | None], attempts: int = ATTEMPTS) -> Word:
        """The first candidate whose forms are all free, in both languages."""
        for _ in range(attempts):
            word = candidate()
            if word and self._claim(word):
                return word
        raise UserError("--lexicon: the sound patterns do not give that many distinct words; lower it")

    def _claim(self, word: Lexeme, spelling: bool = True) -> bool:
        """Take the forms of ``word`` if they are free. A second meaning does not claim its ``spelling``."""
        german_forms = {form.lower() for form in word.german_forms} if spelling else set()
        english_forms = {form.lower() for form in word.english_forms}
        if german_forms & self._german or english_forms & self._english:
            return False
        if any(map(reserved.COARSE.search, german_forms | english_forms)):
            return False
        self._german |= german_forms
        self._english |= english_forms
        return True

    def _second_meaning(self, word: Any, meanings: Callable[[], object], **changes: object) -> Any:
        """``word`` with ``changes`` and with the first of the ``meanings`` that is still free."""
        other = replace(word, english=meanings(), **changes)
        while not self._claim(other, spelling=False):
            other = replace(word, english=meanings(), **changes)
        return other

    def _derived(self, candidate: Callable[[], Word | None], rank: float) -> Word | None:
        """A derived word, or ``None``: frequent words are mostly roots, rare ones mostly derived."""
        if self.dice.chance(DERIVED * rank):
            for _ in range(20):
                word = candidate()
                if word and self._claim(word):
                    return word
        return None

    def _nouns(self, kind: Sense, index: int, rank: float, room: int) -> list[Noun]:
        """The next noun of a kind, or the next two where they are twins."""
        dice = self.dice

        def meaning() -> str:
            return spell(coinage.translation(dice, rank))

        if kind == "person" and index % HOMOGRAPH_STEP == 5:
            return [replace(self._coin(partial(coinage.noun, dice, kind, rank)), homograph=True)]
        if kind == "thing" and index % HOMOGRAPH_STEP == 5 and index < len(self.words["person"]):
            person = self.words["person"][index]
            return [self._second_meaning(person, meaning, sense=kind)]
        if kind == "thing" and index % TWIN_STEP == 9 and room > 1:
            man = replace(self._coin(partial(coinage.noun, dice, kind, rank, "m")), twin=True, linker=None)
            forms = noun_forms(man.lemma, man.lemma, "f", weak=False)
            return [man, self._second_meaning(man, meaning, gender="f", forms=forms)]
        derived = self._derived(partial(derivation.noun, dice, kind, self.words), rank)
        return [derived or self._coin(partial(coinage.noun, dice, kind, rank))]

    def _adjective(self, index: int, rank: float) -> Adjective:
        if index % ADJECTIVE_STEP == 3:
            return self._coin(partial(coinage.adjective, self.dice, rank, ambiguous=True))
        derived = self._derived(partial(derivation.adjective, self.dice, self.words), rank)
        return derived or self._coin(partial(coinage.adjective, self.dice, rank))

    def _verb(self, kind: str, index: int, rank: float) -> Verb:
        """The next verb of a kind. Simple verbs join the pool that others derive from."""
        dice, bases = self.dice, self.words["verb"]

        def meaning() -> Inflection:
            return coinage.regular_or_strong(dice, coinage.translation(dice, rank))

        candidate = partial(coinage.verb, dice, kind, rank, bases)
        if index % VERB_STEP == 4 and kind == "transitive:person":
            return replace(self._coin(candidate), transparent=False)
        if index % VERB_STEP == 4 and kind == "transitive:thing" and index < len(self.words["transitive:person"]):
            other = self.words["transitive:person"][index]
            return self._second_meaning(other, meaning, kind=kind)
        word = self._coin(candidate)
        if not word.prefix and word.german.participle.startswith("ge"):
            bases.append(word)
        return word
