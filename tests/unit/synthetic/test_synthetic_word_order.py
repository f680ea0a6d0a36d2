"""Word order and tense of the generated corpus, in planned clauses and in whole sentences."""

from collections import defaultdict

import pytest

from synthetic.phrases import Request
from synthetic.words import Preposition

AUXILIARIES = {
    *("habe", "hast", "hat", "haben", "bin", "bist", "ist", "sind", "war", "warst", "waren"),
    *("werde", "wirst", "wird", "werden", "kann", "kannst", "können", "muss", "musst", "müssen"),
    *("soll", "sollst", "sollen", "darf", "darfst", "dürfen", "will", "willst", "wollen"),
}


@pytest.fixture(scope="module")
def sentences(grammar):
    return [grammar.pair() for _ in range(4_000)]


def test_a_fronted_object_is_translated(grammar, monkeypatch):
    fronted = 0
    planned = grammar.planner.clause
    for _ in range(300):
        clause = planned("transitive", nested=True, time=False)
        objects = [part for part in clause.parts if part.role == "object" and part.marked]
        monkeypatch.setattr(grammar.planner, "clause", lambda clause=clause: clause)
        monkeypatch.setattr(grammar, "_front", lambda clause, objects=objects: objects[0] if objects else None)
        _, translation = grammar._statement()
        for part in objects:
            assert " ".join(part.english) in " ".join(translation)
            fronted += 1
    assert fronted > 50


def test_tense_of_the_adverb_decides(sentences):
    past = future = 0
    for pair in sentences:
        if "," in pair.source or " und " in pair.source:
            continue
        words, translation = set(pair.source.lower().strip(".?").split()), set(pair.target.lower().split())
        if "gestern" in words and words & {"hat", "haben", "habe"}:
            assert not translation & {"has", "have"}, pair
            past += 1
        if "morgen" in words and not words & AUXILIARIES:
            assert "will" in translation, pair
            future += 1
    assert past > 10
    assert future > 10


def test_prepositions_melt_into_articles(grammar):
    found = defaultdict(set)
    phrases = grammar.planner.phrases
    for case, word in [("acc", "in"), ("acc", "an"), ("dat", "in"), ("dat", "an")] * 150:
        phrase = phrases.nominal("place", case, Request())
        words, translation = phrases.prepositional(Preposition(word, case, "x"), phrase)
        assert words[:2] not in (["in", "dem"], ["in", "das"], ["an", "dem"], ["an", "das"])
        assert translation == ["x", *phrase.english]
        found[case, word].add(words[0])
    assert found["acc", "in"] == {"in", "ins"}
    assert found["acc", "an"] == {"an", "ans"}
    assert found["dat", "in"] == {"in", "im"}
    assert found["dat", "an"] == {"an", "am"}
