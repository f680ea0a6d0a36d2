"""The page of the data report: its text, that it is well-formed and safe, and that no plot breaks."""

import re
from collections import defaultdict
from html.parser import HTMLParser
from itertools import product
from unittest import mock

import matplotlib
import pytest

from ekd_nmt.report import data_report_page
from ekd_nmt.report.data_report_page import (
    Bins,
    Limits,
    choose_bins,
    draw_lengths,
    length_facts,
    percent,
    plot,
    quantile,
    render,
    warnings,
)

SPLITS = ("train", "valid", "test")
LANGUAGES = ("de", "en")
LIMITS = Limits(1, 175, 1.5)
AFTER = {1: 5, 20: 28_000, 175: 327}
HISTOGRAMS = {
    (split, language, stage): ({0: 3} | AFTER | {5000: 665} if stage == "before" else AFTER)
    for split, language, stage in product(SPLITS, LANGUAGES, data_report_page.STAGES)
}
WHOLE = {
    ("collect", "", "", "lines_in"): 31_001,
    ("collect", "", "", "part: europarl"): 30_000,
    ("collect", "", "", "part: news"): 1_000,
    ("collect", "", "", "dropped: malformed"): 1,
    ("collect", "", "", "lines_out"): 31_000,
}
FILTERED = {
    ("prepare", "train", "", "lines_in"): 29_000,
    ("prepare", "train", "", "dropped: empty"): 0,
    ("prepare", "train", "", "dropped: too_long"): 12,
    ("prepare", "train", "", "dropped: ratio"): 656,
    ("prepare", "train", "", "lines_out"): 28_332,
}


def line_counts(step: str, split: str, lines: int) -> dict:
    return {(step, split, "", "lines_in"): lines, (step, split, "", "lines_out"): lines}


def make_facts(changes: dict | None = None, whole: dict = WHOLE) -> dict:
    facts = dict(whole)
    for split in SPLITS:
        facts |= line_counts("split", split, 29_000 if split == "train" else 1_000)
    facts |= FILTERED | length_facts(HISTOGRAMS)
    for split, (language, rate) in product(SPLITS, (("de", 1.234), ("en", 1.1))):
        facts["bpe", split, "", "lines"] = 28_332 if split == "train" else 1_000
        counts = {"words": 50_000, "pieces": int(50_000 * rate), "pieces per word": rate}
        facts |= {("bpe", split, language, measure): count for measure, count in counts.items()}
        counts = {"sentences": 1_000, "tokens": 10_000, "unknown": 0, "unknown rate": 0.0}
        facts |= {("binarise", split, language, measure): count for measure, count in counts.items()}
        for corpus in data_report_page.CORPORA:
            facts["sha256", split, language, corpus] = f"{corpus}-{split}-{language}".ljust(64, "f")
    facts |= {("binarise", "", "de", "dictionary"): 6_600, ("binarise", "", "en", "dictionary"): 5_400}
    facts["binarise", "", "", "joined dictionary"] = "no"
    for pair, language in product(("train-valid", "train-test", "valid-test"), (*LANGUAGES, "")):
        facts["overlap", pair, language, "sentences" if language else "pairs"] = 0
    return facts | (changes or {})


class Page(HTMLParser):
    """Parsed page: its elements, its words, and the cells of its tables."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.open, self.elements, self.words, self.rows = text, [], [], "", []
        self.feed(text)
        self.close()
        assert self.open == []
        self.words = " ".join(self.words.split())
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("br", "meta"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words += data if "svg" in self.open else f" {data} "
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += f" {data} "


def page(changes: dict | None = None, whole: dict = WHOLE, limits: Limits = LIMITS, name: str = "demo") -> Page:
    return Page(render(name, LANGUAGES, make_facts(changes, whole), HISTOGRAMS, limits))


def prose(*arguments, **options) -> Page:
    """The page without its plots, which take longer than all the rest."""
    with mock.patch.object(data_report_page, "plots", return_value=defaultdict(str)):
        return page(*arguments, **options)


@pytest.fixture(scope="module")
def plain() -> Page:
    return page()


# --- text ---


def test_summary_of_a_whole_corpus():
    summary = (
        "Of 31,001 sentence pairs in the whole corpus 28,332 were kept for training (91.4%); the validation set has "
        "1,000 and the test set 1,000. A word of the training data is 1.23 subword pieces in de and 1.10 in en on "
        "average, and none of its sentences is in the validation or test set."
    )
    assert summary in prose().words


def test_summary_of_a_corpus_that_came_in_splits():
    shown = prose({("overlap", "train-test", "", "pairs"): 1}, whole={})
    assert "Of 29,000 training pairs 28,332 were kept for training (97.7%);" in shown.words
    assert "some of its sentences are in the validation or test set." in shown.words
    assert "What the corpus is made of" not in shown.words


def test_steps_and_parts(plain):
    dropped = "12 too long (under 0.1%) 656 ratio of lengths (2.3%)"
    for row in (
        ["collect", "whole corpus", "31,001", "1 malformed (under 0.1%)", "31,000"],
        ["split", "valid", "1,000", "none", "1,000"],
        ["prepare", "train", "29,000", dropped, "28,332"],
        ["europarl", "whole corpus", "30,000", "96.8%"],
        ["news", "whole corpus", "1,000", "3.2%"],
    ):
        assert row in plain.rows


def test_lengths_and_subwords(plain):
    assert ["train", "de", "before", "135.9", "20", "20", "5,000"] in plain.rows
    assert ["train", "de", "after", "21.8", "20", "20", "175"] in plain.rows
    assert ["test", "en", "50,000", "55,000", "1.10", "0", "0.0%"] in plain.rows
    assert "The dictionaries have 6,600 symbols for de and 5,400 for en." in plain.words
    joined = prose({("binarise", "", "", "joined dictionary"): "yes"})
    assert "One dictionary of 6,600 symbols serves both languages." in joined.words


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            LIMITS,
            "at least 1 and at most 175 tokens on either side. The longer side of a pair may have up to 1.5",
        ),
        (Limits(2, None, None), "keeps pairs with at least 2 tokens on either side. Training"),
        (Limits(None, 80, None), "keeps pairs with at most 80 tokens on either side. Training"),
        (Limits(), "In tokens, before and after filtering. Training data, de. Training data, en. Tokens"),
        (Limits(1, 20_000, None), "Training data, de. No sentence comes near the limit of 20,000 tokens."),
    ],
)
def test_limits(limits, words):
    assert words in prose(limits=limits).words


def test_published_sizes():
    shown = prose({("split", "test", "", "expected"): 1_000, ("split", "valid", "", "expected"): 1_001})
    assert ["split", "test", "1,000", "none", "1,000 as published"] in shown.rows
    assert ["split", "valid", "1,000", "none", "1,000 1,001 published"] in shown.rows


def test_overlap_is_highlighted():
    shown = prose({("overlap", "train-test", "en", "sentences"): 30, ("overlap", "valid-test", "", "pairs"): 1})
    assert ["train", "valid", "none", "none", "none"] in shown.rows
    assert ["train", "test", "none", "30 of 28,332 (0.1%)", "none"] in shown.rows
    assert ["valid", "test", "none", "none", "1 of 1,000 (0.1%)"] in shown.rows
    assert shown.text.count('<span class="good">none</span>') == 7


def test_checksums_are_short_with_the_whole_as_title(plain):
    assert ["valid", "en", "raw-valid-en", "tok-valid-en", "bpe-valid-en"] in plain.rows
    titles = [attributes["title"] for tag, attributes in plain.elements if tag == "code"]
    assert len(titles) == 18
    assert titles[0] == "raw-train-de".ljust(64, "f")


# --- its form ---


def test_the_page_is_self_contained(plain):
    assert not {tag for tag, _ in plain.elements} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"@import|https?://|url\((?!#)|src=", plain.text)
    links = [value for _, attributes in plain.elements for key, value in attributes.items() if key.endswith("href")]
    assert links
    assert all(link.startswith("#") for link in links)


def test_each_reference_has_one_target(plain):
    ids = [attributes["id"] for _, attributes in plain.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'(?:url\(#|href="#)([^")]+)', plain.text))
    assert targets
    assert targets <= set(ids)


def test_plots_and_tables_are_labelled_for_screen_readers(plain):
    labels = [attributes for tag, attributes in plain.elements if tag == "svg"]
    assert [(entry["role"], bool(entry["aria-label"])) for entry in labels] == [("img", True)] * 5
    assert "31,001 sentence pairs at first; 1 went at collect: malformed; 2,000 went at" in labels[0]["aria-label"]
    assert labels[1]["aria-label"].endswith("median 20 and longest 5,000 before filtering, 20 and 175 after it.")
    assert {attributes.get("scope") for tag, attributes in plain.elements if tag == "th"} == {"col", "row"}


def test_plots_take_the_colours_of_the_page(plain):
    assert not re.search("|".join(data_report_page.COLOURS), plain.text)
    assert all(colour in plain.text for colour in data_report_page.COLOURS.values())
    assert "prefers-color-scheme: dark" in plain.text
    assert "@media print" in plain.text


def test_text_is_escaped():
    bad = """<script>"&'$x$"""
    named = {("collect", "", "", f"part: {bad}"): 1, ("prepare", "train", "", f"dropped: {bad}"): 1}
    shown = page(named, name=bad)
    assert "<script" not in shown.text
    assert f"Data of {bad}, de to en" in shown.words
    assert [bad, "whole corpus", "1", "under 0.1%"] in shown.rows
    assert f"prepare: {bad}" in shown.words  # in the plot, and not taken for a formula
    assert f"1 went at prepare: {bad}; " in next(entry["aria-label"] for tag, entry in shown.elements if tag == "svg")


def test_equal_facts_give_equal_bytes_with_any_matplotlibrc(plain):
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "svg.hashsalt": None}):
        assert page().text == plain.text
        assert matplotlib.rcParams["font.size"] == 30


# --- warnings ---


def test_no_warning_without_reason():
    changes = {
        ("binarise", "test", "de", "unknown rate"): 0.01,
        ("split", "test", "", "expected"): 1_000,
        ("overlap", "valid-test", "de", "sentences"): 5,
    }
    assert warnings(make_facts(changes)) == []
    assert "Warning" not in prose(changes).words


def test_warnings_are_shown():
    changes = {
        ("overlap", "train-valid", "de", "sentences"): 1_234,
        ("overlap", "train-valid", "", "pairs"): 2,
        ("binarise", "test", "en", "unknown rate"): 0.0101,
        ("collect", "", "", "expected"): 31_002,
    }
    first, second, third = sorted(warnings(make_facts(changes)))
    assert first.startswith("binarise, test in en: 1.0% of the tokens are unknown to the dictionary; ")
    assert (
        second == "collect, whole corpus: 31,000 lines, but 31,002 are published; scores may not compare with others'"
    )
    assert third.startswith("train and valid overlap, lines of train that are in valid too: 1,234 in de, 2 as pairs; ")
    shown = prose(changes).words
    assert all(warning in shown for warning in (first, second, third))


# --- numbers ---


@pytest.mark.parametrize(
    ("histogram", "thousandths", "length"),
    [
        ({7: 1}, 500, 7),
        ({1: 1, 2: 1}, 500, 1),
        ({1: 1, 2: 1}, 501, 2),
        ({1: 19, 9: 1}, 950, 1),
        ({1: 189, 9: 11}, 950, 9),
        ({1: 999, 5000: 1}, 999, 1),
    ],
)
def test_quantile_is_the_nearest_rank(histogram, thousandths, length):
    assert quantile(histogram, thousandths) == length


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "–"), (0, 9, "0.0%"), (1, 9_999, "under 0.1%"), (9_998, 9_999, "over 99.9%"), (9, 9, "100.0%")],
)
def test_percent_does_not_round_to_nothing_or_all(part, whole, text):
    assert percent(part, whole) == text


# --- plots ---


@pytest.mark.parametrize(
    ("histogram", "limit", "bins"),
    [
        ({3: 1, 5000: 1}, 175, Bins(5, 175)),  # ends at the limit
        ({3: 1, 5000: 1}, 127, Bins(3, 129)),  # a prime
        ({40: 1}, 60, Bins(1, 60)),  # far enough to show the limit
        ({40: 1}, 175, Bins(1, 40)),  # too far
        ({40: 9_999, 5000: 1}, None, Bins(1, 40)),
        ({40: 9_999, 50: 1}, None, Bins(1, 50)),
        ({5000: 1}, None, Bins(100, 5000)),
        ({0: 4}, None, Bins(1, 1)),
    ],
)
def test_bins(histogram, limit, bins):
    assert choose_bins(histogram, limit) == bins
    counts = bins.counts(histogram)
    assert sum(counts) == sum(histogram.values())
    assert len(counts) <= data_report_page.MOST_BINS + 2


def test_bins_hold_their_own_lengths():
    assert Bins(5, 10).counts({0: 1, 1: 2, 5: 4, 6: 8, 10: 16, 11: 32, 5000: 64}) == [1, 6, 24, 96]


@pytest.mark.parametrize("limits", [LIMITS, Limits()])
@pytest.mark.parametrize("lengths", [[5], [0], [1], [0, 5000], range(1, 5000)], ids=["5", "0", "1", "far", "many"])
def test_any_lengths_can_be_drawn(lengths, limits):
    series = {label: {length: length + 1 for length in lengths} for label in ("before", "after")}
    assert "tokens in a sentence" in plot("name", "words", draw_lengths, series, limits, "tokens")


def test_long_tail_and_limits_are_marked():
    series = {"before": HISTOGRAMS["train", "de", "before"], "after": AFTER}
    svg = plot("name", "words", draw_lengths, series, LIMITS, "tokens")
    assert [text in svg for text in (">176+<", ">limits 1 and 175<", ">10,000<")] == [True] * 3  # a logarithmic axis


def test_waterfall_ends_at_the_training_data():
    first, lost, last = data_report_page.losses(make_facts())
    assert (first, last) == (31_001, 28_332)
    assert lost[:2] == [("collect: malformed", 1), ("split: valid and test", 2_000)]
    assert lost[2:] == [("prepare: too long", 12), ("prepare: ratio of lengths", 656)]
    bars = data_report_page.draw_losses(first, lost, last).axes[0].patches
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert ends[:3] == [(0, 31_001), (31_000, 31_001), (29_000, 31_000)]
    assert ends[3:] == [(28_988, 29_000), (28_332, 28_988), (0, 28_332)]
    assert len(data_report_page.draw_losses(5, [], 5).axes[0].patches) == 2
