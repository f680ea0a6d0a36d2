"""score.py against BLEU computed by hand and by an independent implementation."""

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sacrebleu

import score
from ekd_nmt.common.errors import UserError

SCRIPT = Path(score.__file__)
REFERENCES = ["The cat sat on the mat, again.", "A small dog runs fast over there.", "It's 5 o'clock now, isn't it?"]
HYPOTHESES = ["The cat sat on a mat, again.", "A small dog runs over there.", "it's 5 o'clock now, is it not?"]


def record(number: int, hypothesis: str, reference: str, tokenized: str | None = None, source: str = "quelle") -> dict:
    tokenized = hypothesis if tokenized is None else tokenized
    texts = {"source": source, "reference": reference, "hypothesis": hypothesis, "hypothesis_tokenized": tokenized}
    return {"id": number, **texts, "score": -0.5}


def records() -> list[dict]:
    return [record(n, hyp, ref) for n, (hyp, ref) in enumerate(zip(HYPOTHESES, REFERENCES, strict=True))]


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{row if row == 'not JSON' else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def plain_bleu(hypotheses: list[str], references: list[str]) -> float:
    """Corpus BLEU of Papineni et al. (2002), implemented from the paper: words split at spaces, no smoothing."""
    logs = []
    for order in range(1, 5):
        matched = total = 0
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            counts = [
                Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))
                for words in (hypothesis.split(), reference.split())
            ]
            matched += (counts[0] & counts[1]).total()
            total += counts[0].total()
        if not matched:
            return 0.0
        logs.append(math.log(matched / total))
    lengths = [sum(len(text.split()) for text in texts) for texts in (hypotheses, references)]
    brevity = min(0.0, 1 - lengths[1] / lengths[0])
    return 100 * math.exp(sum(logs) / 4 + brevity)


def test_bleu_by_hand():
    # one sentence, 6 of 7 words correct, 4 and 2 of them consecutive: precisions 6/7, 4/6, 2/5, 1/4; equal lengths
    rows = [record(0, "x", "x", tokenized="a b c d X f g")]
    expected = 100 * (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25
    assert score.score(rows, ["a b c d e f g"], lowercase=False)["bleu_tokenized"] == pytest.approx(expected)
    # 5 words against 7, all correct: only the brevity penalty
    rows = [record(0, "x", "x", tokenized="a b c d e")]
    assert score.score(rows, ["a b c d e f g"], False)["bleu_tokenized"] == pytest.approx(100 * math.exp(1 - 7 / 5))


def test_tokenised_bleu_is_that_of_the_paper():
    scores = score.score(records(), REFERENCES, lowercase=False)
    assert scores["bleu_tokenized"] == pytest.approx(plain_bleu(HYPOTHESES, REFERENCES))
    assert 0 < scores["bleu_tokenized"] < 100


def test_tokenised_bleu_neither_retokenises_nor_smooths():
    # the 13a tokeniser would split "b." and then find four words in a row
    rows = [record(0, "x", "x", tokenized="a b. c d")]
    assert score.score(rows, ["a b . c d"], False)["bleu_tokenized"] == 0


def test_detokenised_scores_have_sacrebleus_defaults():
    scores = score.score(records(), REFERENCES, lowercase=False)
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score)
    assert scores["bleu"] != pytest.approx(scores["bleu_tokenized"])
    assert "case:mixed|eff:no|tok:13a|smooth:exp|version:" in scores["signatures"]["bleu"]
    assert "tok:none|smooth:none" in scores["signatures"]["bleu_tokenized"]
    assert "nc:6|nw:0" in scores["signatures"]["chrf"]


def test_lowercase():
    mixed, lower = (score.score(records(), REFERENCES, lowercase) for lowercase in (False, True))
    assert lower["bleu"] > mixed["bleu"]
    assert lower["bleu"] == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], lowercase=True).score)
    assert all("case:lc" in signature for signature in lower["signatures"].values())


def test_perfect_translations_score_100():
    rows = [record(n, ref, ref) for n, ref in enumerate(REFERENCES)]
    scores = score.score(rows, REFERENCES, lowercase=False)
    assert [scores[name] for name in ("bleu", "bleu_tokenized", "chrf")] == pytest.approx([100, 100, 100])
    assert scores["lengths"] == {"hypothesis": 20, "reference": 20, "ratio": 1.0}


def test_lengths_count_tokens():
    rows = [record(0, "x", "x", tokenized="a b c")]
    assert score.score(rows, ["a b c d"], False)["lengths"] == {"hypothesis": 3, "reference": 4, "ratio": 0.75}


def test_examples():
    rows = [record(0, "A b c d.", "A b c d.", source="Ein\u2028 Satz\r"), record(1, "", "Two")]
    lines = list(score.examples(rows, score.score(rows, ["A b c d .", "Two"], False), lowercase=False))
    assert lines[0].startswith("2 sentences, BLEU ")
    assert lines[1:] == [
        "",
        "sentence    1",
        "source      Ein Satz",
        "reference   A b c d.",
        "hypothesis  A b c d.",
        "BLEU        100.0",
        "",
        "sentence    2",
        "source      quelle",
        "reference   Two",
        "hypothesis",
        "BLEU        0.0",
    ]


def call(folder: Path, *flags: str) -> subprocess.CompletedProcess:
    names = {"hypotheses": "hyp", "tokenized-reference": "ref", "output": "scores.json", "examples": "examples.txt"}
    files = [part for flag, name in names.items() for part in (f"--{flag}", str(folder / name))]
    return subprocess.run([sys.executable, SCRIPT, *files, *flags], capture_output=True, text=True, check=False)


def test_command(tmp_path):
    write(tmp_path / "hyp", records())
    (tmp_path / "ref").write_text("".join(f"{line}\n" for line in REFERENCES), encoding="utf-8")
    done = call(tmp_path, "--lowercase")
    assert (done.returncode, done.stdout) == (0, "")
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores == json.loads(json.dumps(score.score(records(), REFERENCES, lowercase=True)))
    assert done.stderr.startswith(f"BLEU {scores['bleu']:.2f}, ")
    assert (tmp_path / "examples.txt").read_text(encoding="utf-8").count("\nhypothesis  ") == 3


def test_error_for_another_reference(tmp_path):
    write(tmp_path / "hyp", records())
    (tmp_path / "ref").write_text("one line\n", encoding="utf-8")
    done = call(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "ref has 1 lines" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"hyp", "ref"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no translations"),
        ([record(0, "a", "b"), "not JSON"], "line 2: not JSON"),
        (["not an object"], "line 1: needs the texts"),
        ([record(0, "a", "b"), {"id": 1, "source": "x"}], "line 2: needs the texts"),
        ([record(0, "a", "b"), record(2, "a", "b")], "line 2: has id 2, not 1"),
    ],
)
def test_error_for_damaged_hypotheses(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        score.read_hypotheses(write(tmp_path / "hyp", rows))
