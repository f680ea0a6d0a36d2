"""Score translations with BLEU and chrF, and write every sentence beside its reference.

``bleu_tokenized`` is BLEU as in Papineni et al. (2002) on tokens, unsmoothed: what multi-bleu.perl and fairseq-score
compute and papers on IWSLT'14 report. ``bleu`` (Post, 2018) and ``chrf`` (chrF2; Popović, 2016) compare detokenised
text with the raw reference and do not depend on our tokeniser. All three are on a scale of 0 to 100.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_lines, write_json, write_lines

REVISION = 1  # of what this command writes: raise it when the same input gives another output

TEXT_KEYS = ("source", "reference", "hypothesis", "hypothesis_tokenized")


def read_hypotheses(path: Path) -> list[dict[str, Any]]:
    """Read the JSON lines that translate.py writes.

    Raises:
        UserError: the file is empty, or a line is not such an object or out of order.
    """
    records = []
    for number, line in enumerate(read_lines(path)):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number + 1}: not JSON ({error.msg}); translate again") from error
        if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in TEXT_KEYS):
            raise UserError(f"{path}, line {number + 1}: needs the texts {', '.join(TEXT_KEYS)}; translate again")
        if record.get("id") != number:
            raise UserError(f"{path}, line {number + 1}: has id {record.get('id')}, not {number}; translate again")
        records.append(record)
    if not records:
        raise UserError(f"{path}: has no translations; check the test set")
    return records


def score(records: Sequence[dict[str, Any]], tokenized_references: Sequence[str], lowercase: bool) -> dict[str, Any]:
    """Score all translations of a test set.

    Args:
        records: translations as in :func:`read_hypotheses`.
        tokenized_references: references tokenised as the training data was, one a record.
        lowercase: ignore case.

    Returns:
        ``sentences``, ``bleu``, ``bleu_tokenized``, ``chrf`` (0 to 100), ``signatures`` (sacreBLEU's, one a metric) and
        ``lengths`` (tokens of the tokenised hypotheses and references, and their ratio; well below 1 means truncated
        translations).
    """
    hypotheses = [record["hypothesis"] for record in records]
    references = [record["reference"] for record in records]
    tokenized = [record["hypothesis_tokenized"] for record in records]
    # force: no warning that the text is tokenised, as this metric needs it
    multi_bleu = BLEU(lowercase=lowercase, tokenize="none", smooth_method="none", force=True)
    metrics = {
        "bleu": (BLEU(lowercase=lowercase), hypotheses, references),
        "bleu_tokenized": (multi_bleu, tokenized, tokenized_references),
        "chrf": (CHRF(lowercase=lowercase), hypotheses, references),
    }
    scores = {name: metric.corpus_score(texts, [against]) for name, (metric, texts, against) in metrics.items()}
    counted = scores["bleu_tokenized"]
    return {
        "sentences": len(records),
        **{name: result.score for name, result in scores.items()},
        "lengths": {
            "hypothesis": counted.sys_len,
            "reference": counted.ref_len,
            "ratio": round(counted.sys_len / counted.ref_len, 4) if counted.ref_len else None,
        },
        "signatures": {name: metric.get_signature().format() for name, (metric, _, _) in metrics.items()},
    }


def examples(records: Sequence[dict[str, Any]], scores: dict[str, Any], lowercase: bool) -> Iterator[str]:
    """Yield the lines of a text with every sentence beside its reference.

    Sentence BLEU has effective order, so that sentences of fewer than four words are scored too.
    """
    sentence_bleu = BLEU(lowercase=lowercase, effective_order=True)
    yield f"{len(records)} sentences, BLEU {scores['bleu']:.2f}, chrF {scores['chrf']:.2f}; BLEU below is by sentence."
    for record in records:
        yield ""
        yield f"sentence    {record['id'] + 1}"
        for key in ("source", "reference", "hypothesis"):
            # one line each, even if the text contains other line ends of Unicode
            yield f"{key:<12}{' '.join(record[key].split())}".rstrip()
        yield f"BLEU        {sentence_bleu.sentence_score(record['hypothesis'], [record['reference']]).score:.1f}"


def main() -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hypotheses", type=Path, required=True, help="JSON lines written by translate.py")
    parser.add_argument("--tokenized-reference", type=Path, required=True, help="tokenised reference, one a line")
    parser.add_argument("--lowercase", action="store_true", help="ignore case")
    parser.add_argument("--output", type=Path, required=True, help="scores to write, JSON")
    parser.add_argument("--examples", type=Path, required=True, help="side-by-side text to write")
    args = parser.parse_args()

    records = read_hypotheses(args.hypotheses)
    references = list(read_lines(args.tokenized_reference))
    if len(references) != len(records):
        raise UserError(
            f"{args.tokenized_reference} has {len(references)} lines, {args.hypotheses} has {len(records)}; "
            "pass the reference of the test set that was translated"
        )
    scores = score(records, references, args.lowercase)
    write_lines(args.examples, examples(records, scores, args.lowercase))
    write_json(args.output, scores)
    line = f"BLEU {scores['bleu']:.2f}, tokenised {scores['bleu_tokenized']:.2f}, chrF {scores['chrf']:.2f}"
    print(line, file=sys.stderr)


if __name__ == "__main__":
    run(main)
