"""The grammar of the generated corpus, checked against tables written here and not against the generator's own."""

import re

import pytest

from synthetic import english, german, numerals
from synthetic.dice import Dice
from synthetic.grammar import Grammar
from synthetic.lexicon import NOUN_KINDS, Lexicon
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
POSSESSIVES = "mein dein sein ihr unser ein kein".split()
AUXILIARIES = set(
    """habe hast hat haben bin bist ist sind war warst waren werde wirst wird werden kann kannst können muss musst
    müssen soll sollst sollen darf darfst dürfen will willst wollen""".split()
)
SIMPLE = ("present", "past")


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon(600, 1.0, Dice(11))


@pytest.fixture(scope="module")
def grammar(lexicon):
    return Grammar(lexicon, lexicon.dice)


@pytest.fixture(scope="module")
def sentences(grammar):
    return [grammar.pair() for _ in range(4_000)]


@pytest.fixture(scope="module")
def clauses(grammar):
    return [grammar.planner.clause(nested=True) for _ in range(1_500)]


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
        adjectives = [word for word in before if word.islower() and any(map(word.startswith, stems))]
        for word in adjectives:
            if word != before[0] or tables(word, gender, index)[1] is BARE and not _is_number(word):
                assert word.removesuffix(ending) in stems, phrase.german
        if gender == "p" and case == "dat":
            assert form[-1] in "ns", form
        seen.add((gender, len(adjectives)))
    assert {(gender, count) for gender in "mfnp" for count in (0, 1)} <= seen


def _is_number(word):
    return german_value(word) is not None


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
    assert man["s"] == ("Stand", "Stand", "Stand", "Stands") and man["p"] == ("Stände", "Stände", "Ständen", "Stände")
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


def test_finite_verb_second_and_verb_first(clauses):
    for clause in clauses:
        verb = clause.verb
        finite = {*verb.german.present, *verb.german.past} if clause.tense in SIMPLE else AUXILIARIES
        subject = clause.subject.german
        words = clause.verb_second()
        assert words[: len(subject)] == subject and words[len(subject)] in finite, words
        question = clause.verb_first()
        assert question[0] in finite and question[1 : 1 + len(subject)] == subject
        for front in (part for part in clause.parts if part.role in ("time", "place")):
            words = clause.verb_second(front)
            size = len(front.german)
            assert words[:size] == front.german and words[size] in finite
            assert words[size + 1 : size + 1 + len(subject)] == subject


def test_verb_final_and_separable_prefixes(clauses):
    seen = set()
    for clause in clauses:
        verb, main, final = clause.verb, clause.verb_second(), clause.verb_final()
        if clause.tense in SIMPLE:
            assert final[-1] in {verb.prefix + form for form in (*verb.german.present, *verb.german.past)}
            if verb.prefix:
                assert main[-1] == verb.prefix
        else:
            closing = verb.participle if clause.tense == "perfect" else verb.infinitive
            assert closing.startswith(verb.prefix)
            assert main[-1] == closing and final[-2] == closing and final[-1] in AUXILIARIES
        seen.add((bool(verb.prefix), clause.tense in SIMPLE))
    assert len(seen) == 4


def test_word_order_in_whole_sentences(lexicon, sentences):
    verbs = [verb for kind, words in lexicon.words.items() for verb in words if kind != "verb" and hasattr(verb, "prefix")]
    simple = {form for verb in verbs for form in (*verb.german.present, *verb.german.past)} | AUXILIARIES
    joined = {verb.prefix + form for verb in verbs for form in (*verb.german.present, *verb.german.past)} | AUXILIARIES
    second = last = 0
    for pair in sentences:
        words = pair.source.split()
        if words[0] in ("Ich", "Du", "Er", "Wir", "Gestern", "Heute", "Jetzt", "Bald", "Morgen"):
            assert words[1] in simple, pair.source
            second += 1
        if match := re.fullmatch(r"[^,]*, (?:weil|obwohl|wenn|dass|ob|bevor) ([^,]*)\.", pair.source):
            assert match[1].split()[-1] in joined, pair.source
            last += 1
    assert second > 300 and last > 200


def test_tense_of_the_adverb_decides(sentences):
    past = future = 0
    for pair in sentences:
        if "," in pair.source or " und " in pair.source:
            continue
        words, translation = set(pair.source.lower().strip(".?").split()), set(pair.target.lower().split())
        if "gestern" in words and words & {"hat", "haben", "habe"}:
            assert "yesterday" in " ".join(translation) and not translation & {"has", "have"}, pair
            past += 1
        if "morgen" in words and not words & AUXILIARIES:
            assert "will" in translation, pair
            future += 1
    assert past > 10 and future > 10


def test_ambiguous_words_are_told_apart_by_their_context(lexicon, grammar):
    person, thing = ({n.lemma: n for n in lexicon.words[sense] if n.homograph} for sense in ("person", "thing"))
    assert set(thing) and set(thing) <= set(person)
    for lemma, noun in thing.items():
        assert noun.gender == person[lemma].gender and noun.english != person[lemma].english
    twins = [noun for noun in lexicon.words["thing"] if noun.twin]
    for man, woman in zip(twins[::2], twins[1::2], strict=True):
        assert (man.lemma, man.gender, woman.gender) == (woman.lemma, "m", "f") and man.english != woman.english
    verbs = [{v.infinitive: v for v in lexicon.words[f"transitive:{s}"] if not v.transparent} for s in ("person", "thing")]
    assert set(verbs[1]) and set(verbs[1]) <= set(verbs[0])
    assert all(verbs[0][word].english != verb.english for word, verb in verbs[1].items())
    assert any(a.translation("person") != a.translation("thing") for a in lexicon.words["adjective"])
    lemmas = {noun.lemma for noun in twins}
    seen = set()
    for _ in range(3_000):
        phrase = grammar.planner.phrases.nominal("thing", "nom", Request(genitives=""))
        if phrase.german[-1] in lemmas:  # the article alone must give the gender away, so never a bare plural
            translation = {noun.gender: noun.english for noun in twins if noun.lemma == phrase.german[-1]}
            assert phrase.person == german.THIRD and phrase.english[-1] == translation[phrase.gender]
            assert tables(phrase.german[0], phrase.gender, 0)[1] is not BARE
            seen.add(phrase.gender)
    assert seen == {"m", "f"}


GERMAN_WORDS = "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
GERMAN_WORDS = (GERMAN_WORDS + "siebzehn achtzehn neunzehn").split()
ENGLISH_WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
ENGLISH_WORDS = (ENGLISH_WORDS + "seventeen eighteen nineteen").split()
GERMAN_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()
ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def german_value(word):
    """The number that a German number word means, read from the left; ``None`` for any other word."""
    head, hundred, rest = word.partition("hundert")
    if hundred:
        digit = 1 if head == "ein" else GERMAN_WORDS.index(head) if head in GERMAN_WORDS[2:10] else None
        tail = german_value(rest) if rest else 0
        return None if digit is None or tail is None else 100 * digit + tail
    if word in GERMAN_WORDS:
        return GERMAN_WORDS.index(word)
    for ten, name in enumerate(GERMAN_TENS, start=2):
        unit = word.removesuffix(name)
        if unit != word and unit in ("", "einund", *(f"{digit}und" for digit in GERMAN_WORDS[2:10])):
            unit = unit.removesuffix("und")
            return 10 * ten + (1 if unit == "ein" else GERMAN_WORDS.index(unit) if unit else 0)
    return None


def english_value(text):
    """The number that English number words mean."""
    total = 0
    for word in text.split():
        if word == "hundred":
            total *= 100
        else:
            ten, _, unit = word.partition("-")
            total += 10 * (ENGLISH_TENS.index(ten) + 2) if ten in ENGLISH_TENS else ENGLISH_WORDS.index(ten)
            total += ENGLISH_WORDS.index(unit) if unit else 0
    return total


@pytest.mark.parametrize(
    ("number", "word", "translation"),
    [
        (21, "einundzwanzig", "twenty-one"),
        (30, "dreißig", "thirty"),
        (16, "sechzehn", "sixteen"),
        (101, "einhunderteins", "one hundred one"),
        (777, "siebenhundertsiebenundsiebzig", "seven hundred seventy-seven"),
    ],
)
def test_number_words(number, word, translation):
    assert (numerals.german(number), numerals.english(number)) == (word, translation)


def test_every_number_word_reads_back():
    for number in range(1_000):
        assert german_value(numerals.german(number)) == number == english_value(numerals.english(number))
    for number in (-1, 1_000):
        with pytest.raises(ValueError, match="0 to 999"):
            numerals.german(number)
        with pytest.raises(ValueError, match="0 to 999"):
            numerals.english(number)


def test_numbers_of_a_sentence_are_those_of_its_translation(sentences):
    unit = "|".join([*ENGLISH_WORDS, *(f"{ten}(?:-(?:{'|'.join(ENGLISH_WORDS[1:10])}))?" for ten in ENGLISH_TENS)])
    number = re.compile(rf"\b(?:(?:{'|'.join(ENGLISH_WORDS[1:10])}) hundred(?: (?:{unit}))?|(?:{unit}))(?![\w-])")
    compared = 0
    for pair in sentences:
        values = [german_value(word.strip(",.?")) for word in pair.source.lower().split()]
        values = sorted(value for value in values if value is not None)
        assert values == sorted(english_value(found) for found in number.findall(pair.target.lower())), pair
        compared += len(values)
    assert compared > 300


def test_english_verb_group():
    sing = english.Inflection("sing", "sings", "sang", "sung", "up")
    group = english.verb_group
    assert group(sing, "present", german.THIRD, False) == ("", ("sings", "up"))
    assert group(sing, "past", german.FIRST, True) == ("did", ("sing", "up"))
    assert group(sing, "perfect", german.PLURAL, False) == ("have", ("sung", "up"))
    assert group(sing, "want", german.THIRD, True) == ("does", ("want", "to", "sing", "up"))
    assert [group(english.BE, "past", person, True).auxiliary for person in range(4)] == ["was", "were", "was", "were"]
