"""Whole sentences: clauses joined, capitalised and punctuated like raw text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from synthetic.clauses import Clause, Part, Words
from synthetic.dice import Dice
from synthetic.lexicon import Lexicon
from synthetic.planner import Planner
from synthetic.relatives import relative_clause

PATTERNS = {
    "statement": 0.56,
    "subordinate last": 0.09,
    "subordinate first": 0.08,
    "complement": 0.09,
    "coordination": 0.07,
    "question": 0.07,
    "adverb question": 0.04,
}
COORDINATORS = {("und", "and"): 0.6, ("aber", "but"): 0.3, ("denn", "because"): 0.1}
SUBORDINATORS = {
    ("weil", "because"): 0.35,
    ("wenn", "if"): 0.2,
    ("obwohl", "although"): 0.2,
    ("während", "while"): 0.15,
    ("bevor", "before"): 0.1,
}
QUESTION_WORDS = {("wann", "when"): 0.3, ("warum", "why"): 0.4, ("wo", "where"): 0.3}
ASKING = 0.3  # share of complement clauses that ask "ob" instead of saying "dass"
# weight of each constituent in first position, where its form and role permit it
FRONT = {"subject": 0.6, "time": 0.5, "place": 0.15, "direction": 0.05, "object": 0.15, "dative": 0.15}


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence and its translation; ``lexemes`` are the keys of the invented words in it."""

    source: str
    target: str
    lexemes: tuple[str, ...]


class Grammar:
    """Draws sentence pairs. The translation is a function of the source sentence."""

    def __init__(self, lexicon: Lexicon, dice: Dice) -> None:
        self.lexicon, self.dice = lexicon, dice
        self.planner = Planner(lexicon, dice)
        self.planner.relative = partial(relative_clause, self.planner)

    def pair(self) -> Pair:
        """The next sentence pair."""
        self.lexicon.used.clear()
        pattern = self.dice.weighted(PATTERNS)
        german, english = getattr(self, "_" + pattern.replace(" ", "_"))()
        end = "?" if "question" in pattern else "."
        return Pair(render([*german, end]), render([*english, end]), tuple(self.lexicon.used))

    def _statement(self) -> tuple[Words, Words]:
        clause = self.planner.clause()
        front = self._front(clause)
        # English keeps its objects after the verb, whatever German puts in front of it
        moved = front if front and front.role in ("time", "place", "direction") else None
        english = [*(moved.english if moved else []), *clause.english_statement(moved)]
        return clause.verb_second(front), english

    def _front(self, clause: Clause) -> Part | None:
        """What stands before the verb: ``None`` for the subject. Only objects that show their case may stand there."""
        options: dict[Part | None, float] = {None: FRONT["subject"]}
        options |= {
            p: FRONT[p.role]
            for p in clause.parts
            if p.role in FRONT and (p.marked or p.role not in ("object", "dative"))
        }
        return self.dice.weighted(options)

    def _main(self) -> tuple[Words, Words]:
        """A main clause with its subject first."""
        clause = self.planner.clause()
        return clause.verb_second(), clause.english_statement()

    def _coordination(self) -> tuple[Words, Words]:
        (first, first_english), (second, second_english) = self._main(), self._main()
        word, translation = self.dice.weighted(COORDINATORS)
        comma = [] if word == "und" else [","]
        return [*first, *comma, word, *second], [*first_english, *comma, translation, *second_english]

    def _subordinate_last(self) -> tuple[Words, Words]:
        main, english = self._main()
        (word, translation), clause = self._subordinate()
        return [*main, ",", word, *clause.verb_final()], [*english, translation, *clause.english_statement()]

    def _subordinate_first(self) -> tuple[Words, Words]:
        (word, translation), clause = self._subordinate()
        main = self.planner.clause()
        german = [word, *clause.verb_final(), ",", *main.verb_first()]
        return german, [translation, *clause.english_statement(), ",", *main.english_statement()]

    def _subordinate(self) -> tuple[tuple[str, str], Clause]:
        return self.dice.weighted(SUBORDINATORS), self.planner.clause(nested=True)

    def _complement(self) -> tuple[Words, Words]:
        asking = self.dice.chance(ASKING)
        main = self.planner.clause("ask" if asking else "report", nested=True)
        clause = self.planner.clause(nested=True)
        word, translation = ("ob", "whether") if asking else ("dass", "that")
        german = [*main.verb_second(), ",", word, *clause.verb_final()]
        return german, [*main.english_statement(), translation, *clause.english_statement()]

    def _question(self) -> tuple[Words, Words]:
        clause = self.planner.clause(nested=True)
        return clause.verb_first(), clause.english_question()

    def _adverb_question(self) -> tuple[Words, Words]:
        clause = self.planner.clause(nested=True, time=False)
        word, translation = self.dice.weighted(QUESTION_WORDS)
        return [word, *clause.verb_first()], [translation, *clause.english_question()]


def render(tokens: Sequence[str]) -> str:
    """Join tokens to raw text: punctuation attached and not doubled, ``a`` or ``an``, a capital at the start."""
    words: Words = []
    for token in tokens:
        if token in ",.?":
            words[-1] = words[-1].rstrip(",") + token
            continue
        if words and words[-1] == "a" and token[0] in "aeiou":
            words[-1] = "an"
        if words and words[-1] == "can" and token == "not":
            words[-1] = "cannot"
            continue
        words.append(token)
    text = " ".join(words)
    return text[0].upper() + text[1:]
