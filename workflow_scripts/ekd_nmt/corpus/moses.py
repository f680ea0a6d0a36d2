r"""Moses' tokeniser and punctuation normaliser: sacremoses' ports, with the same output in a fraction of the time.

**Tokens.** :func:`make_tokenizer` asks sacremoses about *chunks*, the text between white space, and remembers the
answers. This is exact because sacremoses' rules only put spaces in and escape characters, and see little at a time:

- A rule about commas or apostrophes sees one neighbour on each side: at the edge of a chunk, the space, or the start or
  end of the sentence. So the tokens of a chunk depend on whether it comes first or last.
- A period at the end of a chunk is parted or not by the first character of the next token, if there is one: lower case,
  one of 0 to 9, or neither. That is the first character of the next chunk, or of the name that sacremoses gives to
  several dots (``DOTDOTMULTI``), which like a dot is neither.

So sacremoses is asked about a small sentence: the chunk, and a word before and after it where the sentence has one.
Letters, digits and hyphens, *plain* characters, are never parted from each other. A plain chunk is a token, and of the
plain characters around the others (``core``) only those that touch them matter: ``house),`` is asked about as ``e),``.
Periods alone look further, at the whole word. In a plain word and a period it matters only whether the word is one of
the language's abbreviations; if not, any other such word stands for it. Other chunks with a period are asked about
whole.

Three things reach across chunks; sentences with one of them are tokenised whole:

- The apostrophe rules of English, French and Italian use up the space they match. Where apostrophes stand on both its
  sides (``' '``), only the left one sees it.
- Control characters that are no white space are deleted, after white space around them has been joined.
- Text that spells ``DOTMULTI`` itself becomes a dot. It has no other character than plain ones.

**Punctuation.** :func:`make_normalizer` passes by sentences in which no rule of sacremoses can match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import regex
from sacremoses import MosesPunctNormalizer, MosesTokenizer

Tokenize = Callable[[str], list[str]]  # from a sentence to its tokens
Normalize = Callable[[str], str]  # from a sentence to the same with plain punctuation

# A few thousand answers serve a corpus of any size. They take about half a kilobyte each, 16 MB a language in all, as
# long as nothing long is remembered.
REMEMBERED_ANSWERS = 2**15
REMEMBERED_LENGTH = 40  # characters of a chunk

DELETED_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b]")  # below U+0020 and no white space
DIGITS = frozenset("0123456789")
NO_ABBREVIATION = "-"  # a plain word that no language has as an abbreviation

# Without one of these no rule of the punctuation normaliser matches, and nothing is to be removed: what Python's `\w`
# matches is never of category C for the `regex` library, whose Unicode version is not older.
NOTEWORTHY = re.compile(r"[^\w\x20-\x7e]|[()`]| [ :;%]|''|\"[,.]|[,.]\"")
INVISIBLE = regex.compile(r"[\p{Cf}--\u200b]", regex.V1)
NON_PRINTING = regex.compile(r"[\p{C}\p{Zl}\p{Zp}]")


def make_tokenizer(language: str, lowercase: bool = False, split_final_period: bool = False) -> Tokenize:
    """Return a function from a sentence to its tokens.

    A language without a list of abbreviations in Moses is tokenised with the English list, as Moses does.
    """
    moses = _ChunkwiseMoses(language)

    def tokenize(sentence: str) -> list[str]:
        tokens = moses.tokenize(sentence)
        if split_final_period:
            tokens = part_final_period(tokens)
        return [token.lower() for token in tokens] if lowercase else tokens

    return tokenize


def part_final_period(tokens: list[str]) -> list[str]:
    """Make a period that ends the last token a token of its own; dots alone (``...``) stay together."""
    if not tokens or not tokens[-1].endswith(".") or set(tokens[-1]) == {"."}:
        return tokens
    return [*tokens[:-1], tokens[-1][:-1], "."]


class _ChunkwiseMoses:
    """sacremoses' tokeniser, asked about chunks; the module's docstring says why that is exact."""

    def __init__(self, language: str) -> None:
        self._moses = MosesTokenizer(lang=language)
        self._abbreviations = {*self._moses.NONBREAKING_PREFIXES, *self._moses.NUMERIC_ONLY_PREFIXES}
        self._lower = frozenset(self._moses.IsLower)
        plain = re.escape(self._moses.IsAlnum) + "-"
        self._split = re.compile(f"([{plain}]*+)(.*[^{plain}])([{plain}]*+)").fullmatch
        self._remembered_answer = lru_cache(REMEMBERED_ANSWERS)(self._answer)

    def tokenize(self, sentence: str) -> list[str]:
        if not sentence.isprintable() and DELETED_CONTROLS.search(sentence):
            return self._whole(sentence)
        chunks = sentence.split()
        if "MULTI" in sentence or ("'" in sentence and "' '" in " ".join(chunks)):
            return self._whole(sentence)

        tokens: list[str] = []
        before = ""
        for following, chunk in enumerate(chunks, start=1):
            parts = self._split(chunk)
            if parts is None:  # all is plain
                tokens.append(chunk)
            else:
                after = "" if following == len(chunks) else self._witness(chunk, chunks[following])
                tokens += self._chunk_tokens(before, *parts.groups(), after)
            before = "a "
        return tokens

    def _whole(self, sentence: str) -> list[str]:
        return self._moses.tokenize(sentence, aggressive_dash_splits=False, escape=True)

    def _witness(self, chunk: str, following: str) -> str:
        """A word that does to the chunk what the following one does."""
        if chunk[-1] == ".":
            if following[0] in self._lower:
                return " a"
            if following[0] in DIGITS:
                return " 0"
        return " A"

    def _chunk_tokens(self, before: str, head: str, core: str, tail: str, after: str) -> Sequence[str]:
        """The tokens of the chunk ``head + core + tail``, of which head and tail are plain, between two words."""
        if "." not in core:
            tokens = self._ask(before, head[-1:] + core + tail[:1], after)
            tokens[0] = head[:-1] + tokens[0]
            tokens[-1] += tail[1:]
            return tokens
        if core == "." and not tail and head and head not in self._abbreviations:
            parted = len(self._ask(before, f"{NO_ABBREVIATION}.", after)) == 2
            return (head, ".") if parted else (f"{head}.",)
        return self._ask(before, head + core + tail, after)

    def _ask(self, before: str, chunk: str, after: str) -> list[str]:
        answer = self._remembered_answer if len(chunk) <= REMEMBERED_LENGTH else self._answer
        return list(answer(before, chunk, after))

    def _answer(self, before: str, chunk: str, after: str) -> tuple[str, ...]:
        """What sacremoses makes of a chunk between two words, of which either may be empty."""
        tokens = self._whole(before + chunk + after)
        return tuple(tokens[bool(before) : len(tokens) - bool(after)])


def make_normalizer(language: str) -> Normalize:
    r"""Return a function that makes a sentence's punctuation plain, as Moses' ``normalize-punctuation.perl`` does.

    The rules are sacremoses' port at its defaults. A ’ outside a word becomes ``'``, which the Perl script makes ``"``.

    Before that, characters that do not print go, in the manner of Moses' ``remove-non-printing-char.perl``. That script
    turns each into a space; here those that Unicode calls format characters (category Cf: soft hyphen, joiners,
    direction marks) are removed instead, since they stand inside words. U+200B, which parts words, becomes a space, and
    so do all others of category C and U+2028 and U+2029. So the result never holds a line break, for any reader.
    """
    library = MosesPunctNormalizer(lang=language)

    def normalize(sentence: str) -> str:
        if not NOTEWORTHY.search(sentence):
            return sentence.strip()
        if not sentence.isprintable():
            sentence = NON_PRINTING.sub(" ", INVISIBLE.sub("", sentence))
        return library.normalize(sentence)

    return normalize
