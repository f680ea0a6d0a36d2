"""Words of the generated corpus: conjugation, spelling, and a lexicon in which no two words can be confused."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from ekd_nmt.common.errors import UserError
from synthetic import english, german, reserved
from synthetic.dice import Dice, Ranked
from synthetic.english import add_ly, add_s, add_vowel_suffix
from synthetic.lexicon import NOUN_KINDS, SHARES, Lexicon
from synthetic.phonology import Syllable


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon(1000, 1.0, Dice(2))


@pytest.fixture(scope="module")
def nouns(lexicon):
    return [noun for kind in NOUN_KINDS for noun in lexicon.words[kind]]


def test_weak_and_strong_verbs():
    assert german.weak_verb("arbeit").present == ("arbeite", "arbeitest", "arbeitet", "arbeiten")
    assert german.weak_verb("mach").past == ("machte", "machtest", "machte", "machten")
    assert german.weak_verb("studier", ge=False).participle == "studiert"
    assert german.weak_verb("tanz").present[1] == "tanzt"
    finden = german.strong_verb((Syllable("f", "i", "nd"),))
    assert finden == (
        "finden",
        ("finde", "findest", "findet", "finden"),
        ("fand", "fandest", "fand", "fanden"),
        "gefunden",
    )
    fahren = german.strong_verb((Syllable("f", "a", "r"),))
    assert fahren.present[1:3] == ("färst", "färt")
    assert finden.prefixed("er").participle == "erfunden"


def test_nouns_of_the_genders_decline_as_german_does():
    man = german.noun_forms("Stand", "Stände", "m", weak=False)
    assert man["s"] == ("Stand", "Stand", "Stand", "Stands")
    assert man["p"] == ("Stände", "Stände", "Ständen", "Stände")
    assert german.noun_forms("Student", "Studenten", "m", weak=True)["s"] == ("Student", *["Studenten"] * 3)
    assert set(german.noun_forms("Kiste", "Kisten", "f", weak=False)["s"]) == {"Kiste"}
    assert german.noun_forms("Haus", "Häuser", "n", weak=False)["s"][3] == "Hauses"


def test_english_verb_group():
    sing = english.Inflection("sing", "sings", "sang", "sung", "up")
    group = english.verb_group
    assert group(sing, "present", german.THIRD, False) == ("", ("sings", "up"))
    assert group(sing, "past", german.FIRST, True) == ("did", ("sing", "up"))
    assert group(sing, "perfect", german.PLURAL, False) == ("have", ("sung", "up"))
    assert group(sing, "want", german.THIRD, True) == ("does", ("want", "to", "sing", "up"))
    assert [group(english.BE, "past", person, True).auxiliary for person in range(4)] == ["was", "were", "was", "were"]


def test_english_spelling():
    assert [add_s(word) for word in ("box", "baby", "boy", "dish")] == ["boxes", "babies", "boys", "dishes"]
    words = ("stop", "carry", "bake", "rain")
    assert [add_vowel_suffix(word, "ed") for word in words] == ["stopped", "carried", "baked", "rained"]
    assert [add_ly(word) for word in ("slow", "happy", "grey")] == ["slowly", "happily", "greyly"]


def test_lexicon_has_the_size_asked_for(lexicon):
    assert sum(len(lexicon.words[kind]) for kind in SHARES) == pytest.approx(1000, abs=15)


def test_no_two_words_share_a_form(lexicon):
    german_forms, english_forms = Counter(), Counter()
    for word in (word for kind in SHARES for word in lexicon.words[kind]):
        second = word in second_meanings(lexicon)
        german_forms.update({form.lower() for form in word.german_forms} if not second else ())
        english_forms.update({form.lower() for form in word.english_forms})
    assert [form for form, count in german_forms.items() if count > 1] == []
    assert [form for form, count in english_forms.items() if count > 1] == []
    assert not reserved.GERMAN & german_forms.keys()
    assert not reserved.ENGLISH & english_forms.keys()


def second_meanings(lexicon):
    """Lexemes that share their German forms with another on purpose."""
    words = {word for word in lexicon.words["thing"] if word.homograph or (word.twin and word.gender == "f")}
    return words | {verb for verb in lexicon.words["transitive:thing"] if not verb.transparent}


def test_homographs_and_twins_come_in_pairs(nouns):
    homographs, twins = defaultdict(set), defaultdict(set)
    for noun in nouns:
        if noun.homograph:
            homographs[noun.lemma, noun.gender].add((noun.sense, noun.english))
        if noun.twin:
            twins[noun.lemma].add((noun.gender, noun.english))
    assert len(homographs) > 5
    assert all({sense for sense, _ in meanings} == {"person", "thing"} for meanings in homographs.values())
    assert len(twins) > 3
    assert all({gender for gender, _ in meanings} == {"m", "f"} for meanings in twins.values())
    assert all(len({english for _, english in pair}) == 2 for pair in [*homographs.values(), *twins.values()])


def test_separable_verbs_share_the_forms_of_their_base_and_translate_apart(lexicon):
    verbs = [verb for kind in SHARES for verb in lexicon.words[kind] if hasattr(verb, "prefix")]
    bases = {verb.german.infinitive: verb for verb in verbs if not verb.prefix}
    separable = [verb for verb in verbs if verb.prefix]
    compositional = [verb for verb in separable if verb.english.particle]
    assert len(separable) > len(verbs) / 6
    assert 0.1 < len(compositional) / len(separable) < 0.6
    for verb in separable:
        base = bases[verb.german.infinitive]
        assert verb.german == base.german
        assert (verb.english.base == base.english.base) == bool(verb.english.particle)


def test_derived_words_translate_part_by_part(nouns):
    by_lemma = {noun.lemma.lower(): noun for noun in nouns}
    small = [noun for noun in nouns if noun.lemma.endswith("chen") and noun.english.endswith("let")]
    assert len(small) > 10
    for noun in small:
        stem = noun.lemma.lower().removesuffix("chen")
        base = by_lemma.get(stem) or by_lemma[stem + "e"]
        assert noun.english == base.english + "let"


def test_compounds_can_be_split_in_one_way(lexicon, nouns):
    simple = {form.lower() for noun in nouns for form in noun.german_forms}
    linked = Counter(
        (noun.lemma + noun.linker).lower() for noun in nouns if noun.linker is not None and noun.transparent
    )
    compounds = 0
    for _ in range(500):
        head = lexicon.draw("thing")
        word = lexicon.compound(head)
        if word is not head:
            compounds += 1
            assert word.english.endswith(" " + head.english)
            assert word.gender == head.gender
            form = word.lemma.lower()
            assert form not in simple
            splits = [cut for cut in range(1, len(form)) if form[cut:] in simple for _ in range(linked[form[:cut]])]
            assert len(splits) == 1, word
    assert compounds > 100


def test_ranked_draws_follow_the_exponent():
    dice, ranked = Dice(1), Ranked("abcd", 2.0)
    counts = Counter(ranked.draw(dice) for _ in range(20_000))
    assert counts["a"] / counts["b"] == pytest.approx(4, rel=0.1)
    assert counts["a"] / counts["d"] == pytest.approx(16, rel=0.2)


@pytest.mark.parametrize("size", [199, 20_001])
def test_lexicon_refuses_sizes_out_of_range(size):
    with pytest.raises(UserError, match=f"--lexicon {size}"):
        Lexicon(size, 1.0, Dice(1))


def test_coarse_words_are_avoided(lexicon):
    forms = {form.lower() for kind in SHARES for word in lexicon.words[kind] for form in word.english_forms}
    assert not any(reserved.COARSE.search(form) for form in forms)
