"""Whole sentences of the generated corpus, read back word by word with tables that are not the generator's."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from synthetic import german
from synthetic.dice import Dice
from synthetic.lexicon import NOUN_KINDS, Lexicon
from synthetic.phrases import Request
from synthetic.relatives import relative_clause
from synthetic_reader import AUXILIARIES, PREFIXES, RELATIVE, STRONG, Reader, table

SUBORDINATE = {"weil", "wenn", "obwohl", "während", "bevor", "dass", "ob"}
TOKEN = re.compile(r"[^\s.,?]+|[.,?]")


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon(400, 1.0, Dice(5))


@pytest.fixture(scope="module")
def sentences(grammar):
    return [TOKEN.findall(grammar.pair().source) for _ in range(5000)]


@pytest.fixture(scope="module")
def reader(lexicon):
    return Reader(lexicon)


def test_determiners_and_adjectives_agree_with_their_noun(reader, sentences):
    checked = 0
    for words in sentences:
        for noun in reader.simple_nouns(words):
            analyses = reader.analyses(words, noun)
            if analyses is not None:
                assert analyses, f"{words[noun]!r} disagrees in {' '.join(words)}"
                checked += 1
    assert checked > 5000


@pytest.mark.parametrize("case", ["nom", "acc", "dat"])
def test_a_phrase_has_its_gender_and_case(lexicon, grammar, reader, case):
    strong, seen = table(STRONG), set()
    for number in range(1500):
        request = Request(negated=number % 3 == 0, genitives="")
        phrase = grammar.planner.phrases.nominal(NOUN_KINDS[number % 4], case, request)
        words, noun, own = phrase.german, len(phrase.german) - 1, (phrase.gender, case)
        if words[noun] not in reader.nouns:  # a compound
            continue
        assert own in reader.nouns[words[noun]], words
        adjectives = words[reader.phrase_start(words, noun) : noun]
        analyses = reader.analyses(words, noun)
        if analyses is None:  # a number, a name or no determiner
            assert all(word.removesuffix(strong[own]) in reader.stems for word in adjectives), words
        else:
            assert own in analyses, words
        seen.add((phrase.gender, len(adjectives), analyses is None))
    assert {(gender, count, bare) for gender in "mfnp" for count in (0, 1) for bare in (True, False)} <= seen


@pytest.mark.parametrize(
    ("frame", "role", "case"),
    [("transitive", "object", "acc"), ("dative", "dative", "dat"), ("ditransitive", "dative", "dat")],
)
def test_verbs_govern_the_case_of_their_objects(grammar, reader, frame, role, case):
    read = 0
    for _ in range(200):
        clause = grammar.planner.clause(frame, nested=True)
        subject = clause.subject.german
        objects = next(part.german for part in clause.parts if part.role == role)
        for words, expected in ((subject, "nom"), (objects, case)):
            noun = next((index for index, word in enumerate(words) if word[0].isupper()), None)
            analyses = reader.analyses(words, noun) if noun in reader.simple_nouns(words) else None
            if analyses is not None:
                assert expected in {analysis[1] for analysis in analyses}, words
                read += 1
    assert read > 150


def test_prepositions_govern_their_case(reader, sentences):
    cases = {"mit": {"dat"}, "von": {"dat"}, "neben": {"dat"}, "über": {"acc"}, "auf": {"acc", "dat"}}
    seen = defaultdict(int)
    for words in sentences:
        for noun in reader.simple_nouns(words):
            before = words[max(0, reader.phrase_start(words, noun) - 2)].lower()
            analyses = reader.analyses(words, noun) if before in cases else None
            if analyses:
                assert cases[before] & {case for _, case in analyses}, " ".join(words)
                seen[before] += 1
    assert len(seen) >= 4
    assert min(seen.values()) > 10


def test_main_clauses_have_their_verb_second_and_close_with_its_rest(reader, sentences):
    closed = prefixed = 0
    for words in sentences:
        if "," in words or words[-1] != "." or "und" in words:
            continue
        verb = next(index for index, word in enumerate(words) if word in reader.separated | AUXILIARIES)
        assert reader.one_constituent(words[:verb]), " ".join(words)
        last = words[-2]
        if words[verb] in AUXILIARIES and words[verb] not in german.SEIN[0] + german.SEIN[1]:
            closing = reader.participles if words[verb] in german.HABEN[0] else reader.infinitives
            assert last in closing, " ".join(words)
            closed += 1
        if last in PREFIXES:
            assert last + words[verb] in reader.finite, " ".join(words)
            prefixed += 1
    assert closed > 300
    assert prefixed > 100


def test_subordinate_clauses_have_their_verb_last_with_its_prefix(reader, sentences):
    checked = prefixed = 0
    for words in sentences:
        start = next((index for index, word in enumerate(words) if word.lower() in SUBORDINATE), None)
        if start is None:
            continue
        end = next(index for index, word in enumerate(words) if index > start and word in ",.")
        assert words[end - 1] in reader.finite, " ".join(words)
        assert words[end - 1] not in PREFIXES
        prefixed += words[end - 1] not in reader.separated | AUXILIARIES
        if start == 0:  # the subordinate clause is the first constituent, so the main verb follows
            assert words[end + 1] in reader.separated | AUXILIARIES, " ".join(words)
        checked += 1
    assert checked > 500
    assert prefixed > 50


def test_questions_begin_with_the_verb(reader, sentences):
    questions = [words for words in sentences if words[-1] == "?"]
    verbs = reader.separated | AUXILIARIES
    assert len(questions) > 200
    for words in questions:
        first = words[1] if words[0] in ("Wann", "Warum", "Wo") else words[0].lower()
        assert first in verbs, " ".join(words)


def test_only_objects_that_show_their_case_come_before_the_verb(grammar, reader):
    fronted = 0
    for _ in range(4000):
        front = grammar._front(grammar.planner.clause(nested=True))
        if front and front.role in ("object", "dative"):
            noun = next(index for index, word in enumerate(front.german) if word[0].isupper())
            if front.german[noun] in reader.nouns:
                cases = {case for _, case in reader.analyses(front.german, noun)}
                assert "nom" not in cases, front.german
                fronted += 1
    assert fronted > 80


def test_relative_pronouns_agree_with_gender_and_role(grammar):
    forms, seen = table(RELATIVE), defaultdict(int)
    marked = {"der", "ein", "dieser", "jeder", "mein", "dein", "unser", "ich", "du", "er", "wir", "Herr"}
    for _ in range(5000):
        head = grammar.planner.phrases.nominal("person", "nom", Request())
        words, english = relative_clause(grammar.planner, head)
        assert words[0] == words[-1] == ","
        role = english[0] if english[0] in ("who", "whom", "whose") else "preposition"
        cases = {"who": ("nom",), "whom": ("acc", "dat"), "whose": ("gen",), "preposition": ("acc", "dat")}[role]
        allowed = {forms[head.gender, case] for case in cases}
        assert words[1] in allowed or words[2] in allowed, (head.german, words)
        if role == "whom" and words[1] in ("die", "das"):  # object, because the next phrase must be the subject
            assert words[2] in marked, words
        if role == "who":
            assert head.gender != "p" or words[-2].endswith(("n", "nd")), words
        seen[role, head.gender] += 1
    assert len(seen) == 16
    assert min(seen.values()) > 10
