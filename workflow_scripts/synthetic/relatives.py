"""Relative clauses: the pronoun has the head's gender and number, and the case of its own clause."""

from __future__ import annotations

from synthetic import german
from synthetic.clauses import Words
from synthetic.german import Case
from synthetic.phrases import Phrase
from synthetic.planner import FRAMES, Planner
from synthetic.words import Preposition, Sense, Verb

# what the relative pronoun stands for, by the sense of the noun before it
GAPS: dict[Sense, dict[str, float]] = {
    "person": {"subject": 0.5, "object": 0.2, "dative": 0.1, "prepositional": 0.1, "owner": 0.1},
    "thing": {"subject": 0.25, "object": 0.45, "prepositional": 0.2, "owner": 0.1},
    "place": {"subject": 0.4, "place": 0.6},
    "idea": {"subject": 0.4, "object": 0.6},
}
SUBJECT_FRAMES: dict[Sense, dict[str, float]] = {
    "person": FRAMES,
    "thing": {"intransitive": 0.6, "copula": 0.4},
    "place": {"copula": 1},
    "idea": {"copula": 1},
}
PLACE = Preposition("in", "dat", "in")


def relative_clause(planner: Planner, head: Phrase) -> tuple[Words, Words]:
    """A relative clause about ``head`` in both languages, with the commas that German puts around it."""
    gap = planner.dice.weighted(GAPS[head.sense])
    person = head.sense == "person"
    if gap == "subject":
        frame = planner.dice.weighted(SUBJECT_FRAMES[head.sense])
        verb = planner.verb(frame, head.sense)
        return _joined(planner, head, verb, head, gap, "nom", ["who" if person else "which"])
    if gap == "owner":
        verb = planner.verb("intransitive" if planner.dice.chance(0.5) else "transitive", "person")
        clause = planner.complete(verb, planner.phrases.possessed(head), nested=True)
        return [",", *clause.verb_final(), ","], clause.english_statement()
    whom = "whom" if person else "which"
    if gap == "dative":
        verb = planner.verb("dative" if planner.dice.chance(0.6) else "ditransitive", "person")
        words = [whom] if verb.frame == "dative" else ["to", whom]
        return _joined(planner, head, verb, None, gap, "dat", words)
    if gap == "prepositional":
        verb = planner.verb("prepositional", "person", head.sense)
        preposition = verb.preposition
        assert preposition is not None
        return _joined(planner, head, verb, None, gap, preposition.case, [preposition.english, whom], preposition)
    if gap == "place":
        verb = planner.verb("intransitive" if planner.dice.chance(0.5) else "transitive", "person")
        return _joined(planner, head, verb, None, gap, PLACE.case, [PLACE.english, whom], PLACE)
    # the head may be a homograph, so the verb must not be ambiguous too
    verb = planner.lexicon.draw(f"transitive:{head.sense}", lambda verb: verb.transparent)
    return _joined(planner, head, verb, None, gap, "acc", [whom])


def _joined(
    planner: Planner,
    head: Phrase,
    verb: Verb,
    subject: Phrase | None,
    gap: str,
    case: Case,
    pronoun: Words,
    preposition: Preposition | None = None,
) -> tuple[Words, Words]:
    """The pronoun and the rest of the clause."""
    if subject is None:
        # "die Frau, die das Kind sieht" means that she sees it; only a marked subject makes the pronoun an object
        clear = gap != "object" or head.gender == "m"
        subject = planner.subject(verb, "person", nested=True) if clear else _marked_subject(planner, verb)
    clause = planner.complete(verb, subject, nested=True, gap=gap)
    word = german.RELATIVE[head.gender][german.CASES.index(case)]
    before = [preposition.german] if preposition else []
    return [",", *before, word, *clause.verb_final(), ","], [*pronoun, *clause.english_statement()]


def _marked_subject(planner: Planner, verb: Verb) -> Phrase:
    """A person that can only be a nominative."""
    used = len(planner.lexicon.used)
    while not (subject := planner.subject(verb, "person", nested=True)).marked:
        del planner.lexicon.used[used:]
    return subject
