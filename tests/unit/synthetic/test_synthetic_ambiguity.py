"""Every ambiguous form of the generated corpus is resolved by another word of its sentence, as docs/demo-corpus.md promises."""

from __future__ import annotations

import re

import pytest

from synthetic import adverbials
from synthetic.dice import Dice
from synthetic.german import PLURAL, THIRD
from synthetic.lexicon import NOUN_KINDS, SHARES, Lexicon
from synthetic.phrases import Request
from synthetic.words import Verb
from synthetic_reader import Reader


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon(400, 1.0, Dice(7))


@pytest.fixture(scope="module")
def pairs(grammar):
    return [grammar.pair() for _ in range(4000)]


def test_adjectives_are_translated_by_what_their_noun_is(lexicon, grammar):
    ambiguous = {word.key: word for word in lexicon.words["adjective"] if not word.transparent}
    seen = set()
    for number in range(3000):
        lexicon.used.clear()
        sense = NOUN_KINDS[number % 4]
        english = grammar.planner.phrases.nominal(sense, "nom", Request(genitives="")).english
        for word in (ambiguous[key] for key in lexicon.used if key in ambiguous):
            right, wrong = (word.english, word.other) if sense == "person" else (word.other, word.english)
            assert right in english
            assert wrong not in english
            seen.add((word.key, sense == "person"))
    assert len(seen) > 6


def test_verbs_are_translated_by_what_their_object_is(lexicon, grammar):
    nouns = {noun.key: noun for kind in NOUN_KINDS for noun in lexicon.words[kind]}
    translations = {}
    for sense in ("person", "thing"):
        verbs = [verb for verb in lexicon.words[f"transitive:{sense}"] if not verb.transparent]
        for verb in verbs * 150:
            subject = grammar.planner.phrases.pronoun()
            lexicon.used.clear()
            clause = grammar.planner.complete(verb, subject, nested=True)
            # names and pronouns are no evidence, and neither is a noun that is ambiguous itself
            thing = next(nouns[key] for key in lexicon.used if key in nouns)
            assert thing.sense == sense
            assert not thing.homograph
            assert set(clause.english_statement()) & verb.english_forms
            translations.setdefault(verb.infinitive, set()).add(verb.english.base)
    assert [len(meanings) for meanings in translations.values()] == [2] * len(translations)
    assert translations


def test_homographs_are_translated_by_what_governs_them(lexicon, grammar):
    meanings = {}
    for sense in ("person", "thing"):
        homographs = {noun.key: noun for noun in lexicon.words[sense] if noun.homograph}
        for _ in range(1500):
            verb = lexicon.draw(f"transitive:{sense}", lambda verb: verb.transparent)
            subject = grammar.planner.phrases.pronoun()
            lexicon.used.clear()
            clause = grammar.planner.complete(verb, subject, nested=True)
            for noun in (homographs[key] for key in lexicon.used if key in homographs):
                assert set(clause.english_statement()) & noun.english_forms
                meanings.setdefault(noun.lemma, set()).add(noun.english)
    assert any(len(translations) == 2 for translations in meanings.values())


def test_homographs_never_stand_where_nothing_governs_them(lexicon, grammar):
    homographs = {noun.key for kind in NOUN_KINDS for noun in lexicon.words[kind] if noun.homograph}
    for _ in range(1500):
        lexicon.used.clear()
        grammar.planner.clause("copula", nested=True)
        assert not homographs & set(lexicon.used)


def test_twins_are_translated_by_the_gender_of_their_determiner(lexicon, grammar):
    reader, seen = Reader(lexicon), set()
    twins = [noun for noun in lexicon.words["thing"] if noun.twin]
    for _ in range(3000):
        phrase = grammar.planner.phrases.nominal("thing", "nom", Request(genitives=""))
        translations = {noun.gender: noun.english for noun in twins if noun.lemma == phrase.german[-1]}
        if translations:  # a twin has no plural: the determiner alone shows the gender
            readings = reader.analyses(phrase.german, len(phrase.german) - 1)
            assert {gender for gender, case in readings if case == "nom"} - {"p"} == {phrase.gender}
            assert phrase.english[-1] == translations[phrase.gender]
            seen.add(phrase.gender)
    assert seen == {"m", "f"}


def test_the_verb_distinguishes_she_from_they(lexicon, pairs):
    verbs = [verb for kind in SHARES for verb in lexicon.words[kind] if isinstance(verb, Verb)]
    forms = {
        person: {form for verb in verbs for form in (verb.german.present[person], verb.german.past[person])}
        | auxiliaries
        for person, auxiliaries in (
            (THIRD, {"hat", "ist", "war", "wird", "kann", "muss", "soll", "darf", "will"}),
            (PLURAL, {"haben", "sind", "waren", "werden", "können", "müssen", "sollen", "dürfen", "wollen"}),
        )
    }
    seen = set()
    for pair in pairs:
        if match := re.match(r"Sie (\w+)", pair.source):
            person = THIRD if match[1] in forms[THIRD] else PLURAL
            assert match[1] in forms[person]
            assert pair.target.split()[0] == {THIRD: "She", PLURAL: "They"}[person]
            seen.add(person)
    assert seen == {THIRD, PLURAL}


def test_the_case_distinguishes_in_from_into(grammar):
    planner, seen = grammar.planner, set()
    for role in ("place", "direction") * 500:
        clause = planner.clause("intransitive", nested=True, time=False)
        clause.parts.clear()
        adverbials.add_location(clause, role, planner.phrases, Request())
        seen.add((clause.parts[0].german[0], clause.parts[0].english[0]))
    assert {("im", "in"), ("am", "at"), ("ins", "into"), ("ans", "to")} <= seen
    assert not {("im", "into"), ("am", "to"), ("ins", "in"), ("ans", "at")} & seen


def test_the_verb_determines_the_meaning_of_its_preposition(grammar):
    meanings = {}
    for verb in Lexicon(4000, 1.0, Dice(3)).words["prepositional:person"]:
        clause = grammar.planner.complete(verb, grammar.planner.phrases.pronoun(), nested=True)
        part = next(part for part in clause.parts if part.role == "prepositional")
        assert part.german[0] in (verb.preposition.german, "vom", "ans", "am")
        assert part.english[0] == verb.preposition.english
        meanings.setdefault(verb.preposition.german, set()).add(verb.preposition.english)
    assert {word: len(translations) for word, translations in meanings.items()} == dict.fromkeys(meanings, 2)
