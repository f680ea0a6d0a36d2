"""The grammar of the generated corpus, checked against tables written here and not against the generator's own."""

import re

import pytest

from synthetic import english, german
from synthetic.lexicon import NOUN_KINDS
from synthetic.phrases import Request
from synthetic.words import Preposition

CASES = ("nom", "acc", "dat")
DETERMINERS = {
    "m": ("der dieser jeder", "den diesen jeden", "dem diesem jedem"),
    "f": ("die diese jede", "die diese jede", "der dieser jeder"),
    "n": ("das dieses jedes", "das dieses jedes", "dem diesem jedem"),
    "p": ("die diese alle", "die diese alle", "den diesen allen"),
}
EIN = {"m": ("", "en", "em"), "f": ("e", "e", "er"), "n": ("", "", "em"), "p": ("e", "e", "en")}
AFTER_DER = {"m": ("e", "en", "en"), "f": ("e", "e", "en"), "n": ("e", "e", "en"), "p": ("en", "en", "en")}
AFTER_EIN = {"m": ("er", "en", "en"), "f": ("e", "e", "en"), "n": ("es", "es", "en"), "p": ("en", "en", "en")}
BARE = {"m": ("er", "en", "em"), "f": ("e", "e", "er"), "n": ("es", "es", "em"), "p": ("e", "e", "en")}
POSSESSIVES = ["mein", "dein", "sein", "ihr", "unser", "ein", "kein"]
NUMBERS = (
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sech",
    "sieb",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "einund",
    "einhundert",
)


def tables(first, gender, index):
    """The form that ``first``, a phrase's first word, should have, and the endings that should follow it."""
    if re.fullmatch("d(er|ie|as|en|em)|(dies|jed|all)(e|er|es|en|em)", first):
        return first in DETERMINERS[gender][index].split(), AFTER_DER
    for stem in POSSESSIVES:
        if re.fullmatch(f"{stem}(e|er|es|en|em)?", first):
            return first == stem + EIN[gender][index], AFTER_EIN
    return True, BARE  # a number, a name's genitive, or no determiner at all


@pytest.mark.parametrize("case", CASES)
def test_determiner_and_adjectives_agree_with_the_noun(lexicon, grammar, case):
    genders = {f"{noun.lemma}/{noun.gender}/{sense}": noun for sense in NOUN_KINDS for noun in lexicon.words[sense]}
    stems = {adjective.stem for adjective in lexicon.words["adjective"]}
    seen, index = set(), CASES.index(case)
    for number in range(1_500):
        lexicon.used.clear()
        request = Request(negated=number % 3 == 0, genitives="")
        phrase = grammar.planner.phrases.nominal(NOUN_KINDS[number % 4], case, request)
        noun = genders[lexicon.used[0]]
        gender = "p" if phrase.person == german.PLURAL else noun.gender
        *before, form = phrase.german
        right, endings = tables(before[0], gender, index) if before else (True, BARE)
        assert right, phrase.german
        ending = endings[gender][index]
        determined = before and (endings is not BARE or before[0].istitle() or before[0].startswith(NUMBERS))
        adjectives = before[1:] if determined else before
        assert all(word.removesuffix(ending) in stems for word in adjectives), phrase.german
        if gender == "p" and case == "dat":
            assert form[-1] in "ns", form
        seen.add((gender, len(adjectives)))
    assert {(gender, count) for gender in "mfnp" for count in (0, 1)} <= seen


def test_genitive_attributes(lexicon, grammar):
    found = set()
    for _ in range(1_500):
        words = grammar.planner.phrases.nominal("thing", "nom", Request()).german
        if len(words) > 2 and words[-2] in ("des", "der") and words[-3][0].isupper():
            readings = {
                gender if number == "s" else "p"
                for noun in lexicon.words["person"]
                for number, gender in (("s", noun.gender), ("p", "p"))
                if noun.forms[number][3] == words[-1]
            }
            assert readings & (set("mn") if words[-2] == "des" else set("fp")), words
            found.add(words[-2])
    assert found == {"des", "der"}


def test_nouns_of_the_genders_decline_as_german_does():
    man = german.noun_forms("Stand", "Stände", "m", weak=False)
    assert man["s"] == ("Stand", "Stand", "Stand", "Stands")
    assert man["p"] == ("Stände", "Stände", "Ständen", "Stände")
    assert german.noun_forms("Student", "Studenten", "m", weak=True)["s"] == ("Student", *["Studenten"] * 3)
    assert set(german.noun_forms("Kiste", "Kisten", "f", weak=False)["s"]) == {"Kiste"}
    assert german.noun_forms("Haus", "Häuser", "n", weak=False)["s"][3] == "Hauses"


def test_prepositions_melt_into_articles(grammar):
    found = {}
    phrases = grammar.planner.phrases
    for case in ("acc", "dat"):
        for word in ("in", "an"):
            for _ in range(150):
                phrase = phrases.nominal("place", case, Request())
                words, translation = phrases.prepositional(Preposition(word, case, "x"), phrase)
                assert words[:2] not in (["in", "dem"], ["in", "das"], ["an", "dem"], ["an", "das"])
                assert translation == ["x", *phrase.english]
                found.setdefault((case, word), set()).add(words[0])
    assert found == {
        ("acc", "in"): {"in", "ins"},
        ("acc", "an"): {"an", "ans"},
        ("dat", "in"): {"in", "im"},
        ("dat", "an"): {"an", "am"},
    }


def test_ambiguous_words_are_told_apart_by_their_context(lexicon, grammar):
    person, thing = ({n.lemma: n for n in lexicon.words[sense] if n.homograph} for sense in ("person", "thing"))
    assert set(thing)
    assert set(thing) <= set(person)
    for lemma, noun in thing.items():
        assert noun.gender == person[lemma].gender
        assert noun.english != person[lemma].english
    twins = [noun for noun in lexicon.words["thing"] if noun.twin]
    for man, woman in zip(twins[::2], twins[1::2], strict=True):
        assert (man.lemma, man.gender, woman.gender) == (woman.lemma, "m", "f")
        assert man.english != woman.english
    verbs = [
        {v.infinitive: v for v in lexicon.words[f"transitive:{s}"] if not v.transparent} for s in ("person", "thing")
    ]
    assert set(verbs[1])
    assert set(verbs[1]) <= set(verbs[0])
    assert all(verbs[0][word].english != verb.english for word, verb in verbs[1].items())
    assert any(a.translation("person") != a.translation("thing") for a in lexicon.words["adjective"])
    lemmas = {noun.lemma for noun in twins}
    seen = set()
    for _ in range(3_000):
        phrase = grammar.planner.phrases.nominal("thing", "nom", Request(genitives=""))
        if phrase.german[-1] in lemmas:  # the article alone must give the gender away, so never a bare plural
            translation = {noun.gender: noun.english for noun in twins if noun.lemma == phrase.german[-1]}
            assert phrase.person == german.THIRD
            assert phrase.english[-1] == translation[phrase.gender]
            assert tables(phrase.german[0], phrase.gender, 0)[1] is not BARE
            seen.add(phrase.gender)
    assert seen == {"m", "f"}


def test_english_verb_group():
    sing = english.Inflection("sing", "sings", "sang", "sung", "up")
    group = english.verb_group
    assert group(sing, "present", german.THIRD, False) == ("", ("sings", "up"))
    assert group(sing, "past", german.FIRST, True) == ("did", ("sing", "up"))
    assert group(sing, "perfect", german.PLURAL, False) == ("have", ("sung", "up"))
    assert group(sing, "want", german.THIRD, True) == ("does", ("want", "to", "sing", "up"))
    assert [group(english.BE, "past", person, True).auxiliary for person in range(4)] == ["was", "were", "was", "were"]
