r"""Moses' tokeniser and punctuation normaliser: sacremoses' ports, with the same output in a fraction of the time.

**Tokens.** :func:`make_tokenizer` calls sacremoses on *chunks*, the text between white space, and caches the results.
This is exact because sacremoses' rules only insert spaces and escape characters, and have little context:

- A rule about commas or apostrophes sees one neighbour on each side: at the edge of a chunk, the space, or the start or
  end of the sentence. So the tokens of a chunk depend on whether it comes first or last.
- Whether a period at the end of a chunk is split off depends on the first character of the next token, if there is one:
  lower case, one of 0 to 9, or neither. That is the first character of the next chunk, or of sacremoses' placeholder
  for several dots (``DOTDOTMULTI``), which like a dot is neither.

So sacremoses is called on a small sentence: the chunk, and a word before and after it where the sentence has one.
Letters, digits and hyphens, the *plain* characters, are never split from each other. A plain chunk is a token, and of
the plain characters around the others (``core``) only adjacent ones matter: ``house),`` becomes ``e),``. Only rules
about periods see the whole word. For a plain word and a period it matters only whether the word is one of the
language's abbreviations; if not, any such word can replace it. Other chunks with a period are passed whole.

Three things cross the borders of chunks; sentences with one of them are tokenised whole:

- The apostrophe rules of English, French and Italian consume the space they match. Between two apostrophes (``' '``),
  only the left one sees it.
- Control characters other than white space are deleted, after white space around them has been joined.
- The text ``DOTMULTI`` becomes a dot, although it has plain characters only.

**Punctuation.** :func:`make_normalizer` skips sentences in which no rule of sacremoses can match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import regex
from sacremoses import MosesPunctNormalizer, MosesTokenizer

Tokenize = Callable[[str], list[str]]  # from a sentence to its tokens
Normalize = Callable[[str], str]  # from a sentence to the same with normalised punctuation

# A few thousand cached chunks serve a corpus of any size. Each takes about half a kilobyte, 16 MB a language in all, if
# long chunks are not cached.
CACHED_CHUNKS = 2**15
CACHED_LENGTH = 40  # characters of a chunk

DELETED_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b]")  # below U+0020 and no white space
DIGITS = frozenset("0123456789")
NO_ABBREVIATION = "-"  # a plain word that no language has as an abbreviation

# Without one of these, no rule of the punctuation normaliser matches and nothing is removed: what Python's `\w` matches
# is never of category C for the `regex` library, whose Unicode version is not older.
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
            tokens = split_off_final_period(tokens)
        return [token.lower() for token in tokens] if lowercase else tokens

    return tokenize


def split_off_final_period(tokens: list[str]) -> list[str]:
    """Split a final period from the last token; several dots (``...``) stay together."""
    if not tokens or not tokens[-1].endswith(".") or set(tokens[-1]) == {"."}:
        return tokens
    return [*tokens[:-1], tokens[-1][:-1], "."]


class _ChunkwiseMoses:
    """sacremoses' tokeniser, called on chunks; see the module's docstring."""

    def __init__(self, language: str) -> None:
        self._moses = MosesTokenizer(lang=language)
        self._abbreviations = {*self._moses.NONBREAKING_PREFIXES, *self._moses.NUMERIC_ONLY_PREFIXES}
        self._lower = frozenset(self._moses.IsLower)
        plain = re.escape(self._moses.IsAlnum) + "-"
        self._split = re.compile(f"([{plain}]*+)(.*[^{plain}])([{plain}]*+)").fullmatch
        self._cached_tokens = lru_cache(CACHED_CHUNKS)(self._chunk_in_context)

    def tokenize(self, sentence: str) -> list[str]:
        if not sentence.isprintable() and DELETED_CONTROLS.search(sentence):
            return self._whole(sentence)
        chunks = sentence.split()
        if "MULTI" in sentence or ("'" in sentence and "' '" in " ".join(chunks)):
            return self._whole(sentence)

        tokens: list[str] = []
        before = ""
        for following, chunk in enumerate(chunks, start=1):
            split = self._split(chunk)
            if split is None:  # all is plain
                tokens.append(chunk)
            else:
                after = "" if following == len(chunks) else self._equivalent(chunk, chunks[following])
                tokens += self._chunk_tokens(before, split[1], split[2], split[3], after)
            before = "a "
        return tokens

    def _whole(self, sentence: str) -> list[str]:
        return self._moses.tokenize(sentence, aggressive_dash_splits=False, escape=True)

    def _equivalent(self, chunk: str, following: str) -> str:
        """A word that has the same effect on the chunk as the following one."""
        if chunk[-1] == ".":
            if following[0] in self._lower:
                return " a"
            if following[0] in DIGITS:
                return " 0"
        return " A"

    def _chunk_tokens(self, before: str, head: str, core: str, tail: str, after: str) -> Sequence[str]:
        """The tokens of the chunk ``head + core + tail`` between two words; head and tail are plain."""
        if "." not in core:
            tokens = self._tokenize_chunk(before, head[-1:] + core + tail[:1], after)
            tokens[0] = head[:-1] + tokens[0]
            tokens[-1] += tail[1:]
            return tokens
        if core == "." and not tail and head and head not in self._abbreviations:
            is_split = len(self._tokenize_chunk(before, f"{NO_ABBREVIATION}.", after)) == 2
            return (head, ".") if is_split else (f"{head}.",)
        return self._tokenize_chunk(before, head + core + tail, after)

    def _tokenize_chunk(self, before: str, chunk: str, after: str) -> list[str]:
        tokenize = self._cached_tokens if len(chunk) <= CACHED_LENGTH else self._chunk_in_context
        return list(tokenize(before, chunk, after))

    def _chunk_in_context(self, before: str, chunk: str, after: str) -> tuple[str, ...]:
        """sacremoses' tokens of a chunk between two words, which may be empty."""
        tokens = self._whole(before + chunk + after)
        return tuple(tokens[bool(before) : len(tokens) - bool(after)])


def make_normalizer(language: str) -> Normalize:
    r"""Return a function that normalises a sentence's punctuation, as Moses' ``normalize-punctuation.perl`` does.

    The rules are sacremoses' port at its defaults. A ’ outside a word becomes ``'``; the Perl script writes ``"``.

    Before that, non-printing characters are replaced by spaces, as Moses' ``remove-non-printing-char.perl`` does: those
    of category C, U+2028 and U+2029. So the result has no line break for any reader. Format characters (category Cf:
    soft hyphen, joiners, direction marks) are removed instead, because they occur inside words, except U+200B, which
    separates words.
    """
    library = MosesPunctNormalizer(lang=language)

    def normalize(sentence: str) -> str:
        if not NOTEWORTHY.search(sentence):
            return sentence.strip()
        if not sentence.isprintable():
            sentence = NON_PRINTING.sub(" ", INVISIBLE.sub("", sentence))
        return library.normalize(sentence)

    return normalize
