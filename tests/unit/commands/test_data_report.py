"""data_report.py: all lines counted, overlaps, the exact tables, refusals."""

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from itertools import combinations
from pathlib import Path

import pytest

import data_report
from ekd_nmt.common.errors import UserError

SCRIPT = Path(data_report.__file__)
TEXT = {  # tokenised
    "train": {"de": ["a b c", "a b", "d e", "f"], "en": ["A B", "A", "D E F", "F"]},
    "valid": {"de": ["g h", "i"], "en": ["G H", "I"]},
    "test": {"de": ["j", "k l m n"], "en": ["J", "K L"]},
}
OUTPUTS = ("report.csv", "lengths.csv", "report.html")


def counts(step: str, split: str, lines_in: int, dropped: dict[str, int] | None = None, **more) -> dict:
    dropped = dropped or {}
    lines_out = lines_in - sum(dropped.values())
    return {"step": step, "split": split, "lines_in": lines_in, "lines_out": lines_out, "dropped": dropped, **more}


def histogram(lines: list[str]) -> dict[str, int]:
    lengths = [len(line.split()) for line in lines]
    return {str(length): lengths.count(length) for length in set(lengths)}


def inputs() -> dict[str, dict]:
    """File name → what the steps before would have written."""
    lengths = {split: {language: histogram(text) for language, text in sides.items()} for split, sides in TEXT.items()}
    whole = counts("collect", "", 10, {"malformed": 1}, parts={"europarl": 6, "news, old": 3}, references="not read")
    files = {
        "all": {"accounts": [whole]},
        "split": {"accounts": [counts("split", split, n) for split, n in (("train", 5), ("valid", 2), ("test", 2))]},
    }
    files["split"]["accounts"][2]["expected"] = 2
    for split, kept in lengths.items():
        drop = {"too_long": 1, "ratio": 0} if split == "train" else {}
        before = {language: counts | ({"5000": 1} if drop else {}) for language, counts in kept.items()}
        lines = len(TEXT[split]["de"])
        step = counts("prepare", split, lines + len(drop) // 2, drop)
        files[split] = {"accounts": [step], "lengths": {"before": before, "after": kept}}
        files[f"bpe.{split}"] = {"split": split, "lines": lines, "lengths": kept}
        words = {language: len(" ".join(text).split()) for language, text in TEXT[split].items()}
        files[f"bpe.{split}"] |= {"words": words, "pieces": {language: 2 * n for language, n in words.items()}}
    sides = {"de": {"sentences": 2, "tokens": 300, "unknown": 1}, "en": {"sentences": 2, "tokens": 0, "unknown": 0}}
    splits = dict.fromkeys(TEXT, sides)
    splits["train"] = {language: side | {"sentences": 4} for language, side in sides.items()}
    files["binarize"] = {"dictionaries": {"de": 6600, "en": 5000}, "joined": False, "splits": splits}
    return json.loads(json.dumps(files))  # nothing shared, so that a test changes one place


def flags(folder: Path, files: dict[str, dict], out: str = "out") -> list[str]:
    """Write the inputs to a folder; return the command line that reports on them."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    for corpus in ("raw", "tok", "bpe"):
        (folder / corpus).mkdir(exist_ok=True)
        for split, sides in TEXT.items():
            for language, lines in sides.items():
                text = "".join(f"{line}\n" if corpus == "tok" else f"{line} {corpus}\n" for line in lines)
                (folder / corpus / f"{split}.{language}").write_bytes(text.encode())
    names = {
        "--line-counts": ["all", "split", "train", "valid", "test"],
        "--bpe": ["bpe.test", "bpe.train", "bpe.valid"],
    }
    listed = [part for flag, stems in names.items() for part in (flag, *(folder / f"{stem}.json" for stem in stems))]
    written = zip(("--csv", "--lengths", "--page"), OUTPUTS, strict=True)
    parts = ["--experiment", "demo", "--source-lang", "de", "--target-lang", "en", "--data-dir", folder, *listed]
    parts += ["--binarized", folder / "binarize.json", "--min-tokens", "1", "--max-tokens", "175", "--max-ratio", "1.5"]
    return [str(part) for part in [*parts, *(part for flag, name in written for part in (flag, folder / out / name))]]


def call(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *command]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


@pytest.fixture
def main(tmp_path, monkeypatch):
    """Report on given inputs in this process; ``text`` replaces corpora."""

    def report(files: dict[str, dict], text: dict[str, str] | None = None, *more: str) -> None:
        command = flags(tmp_path, files)
        for path, content in (text or {}).items():
            (tmp_path / path).write_bytes(content.encode())
        monkeypatch.setattr(sys, "argv", ["data_report.py", *command, *more])
        data_report.main()

    return report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Folder of a report made by the command."""
    folder = tmp_path_factory.mktemp("report")
    done = call(flags(folder, inputs()), PYTHONHASHSEED="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


# --- what is written ---


def test_every_number_is_a_row(report):
    rows = (report / "out" / "report.csv").read_text(encoding="utf-8").split("\n")
    assert rows[:17] == [
        "step,split,language,measure,value",
        "collect,,,lines_in,10",
        "collect,,,part: europarl,6",
        'collect,,,"part: news, old",3',
        "collect,,,dropped: malformed,1",
        "collect,,,lines_out,9",
        "split,train,,lines_in,5",
        "split,train,,lines_out,5",
        "split,valid,,lines_in,2",
        "split,valid,,lines_out,2",
        "split,test,,lines_in,2",
        "split,test,,lines_out,2",
        "split,test,,expected,2",
        "prepare,train,,lines_in,5",
        "prepare,train,,dropped: too_long,1",
        "prepare,train,,dropped: ratio,0",
        "prepare,train,,lines_out,4",
    ]
    measures = {row.rpartition(",")[0]: row.rpartition(",")[2] for row in rows}
    for stage, values in (
        ("before", "1001.600000 2 5000 5000"),
        ("after", "2.000000 2 3 3"),
        ("bpe", "2.000000 2 3 3"),
    ):
        names = ("mean", "median", "95th percentile", "longest")
        assert [measures[f"lengths,train,de,{name} {stage}"] for name in names] == values.split()
    assert [measures[f"bpe,train,{key}"] for key in (",lines", "de,words", "de,pieces")] == ["4", "8", "16"]
    assert "bpe,train,de,pieces per word,2.000000" in rows
    assert "binarise,train,de,unknown rate,0.003333" in rows
    assert "binarise,test,en,unknown rate,0.000000" in rows
    start = rows.index("binarise,,de,dictionary,6600")
    assert rows[start + 1 : start + 3] == ["binarise,,en,dictionary,5000", "binarise,,,joined dictionary,no"]
    assert rows[start + 3 : start + 12] == [
        f"overlap,{splits},{shared},0"
        for splits in ("train-valid", "train-test", "valid-test")
        for shared in ("de,sentences", "en,sentences", ",pairs")
    ]
    for place, end in enumerate((" raw", "", " bpe")):
        digest = hashlib.sha256("".join(f"{line}{end}\n" for line in TEXT["train"]["de"]).encode()).hexdigest()
        assert rows[start + 12 + place] == f"sha256,train,de,{end.strip() or 'tok'},{digest}"
    assert len(rows) == start + 12 + 18 + 1
    assert rows[-1] == ""


def test_equal_input_gives_equal_bytes_anywhere(report, tmp_path):
    assert call(flags(tmp_path, inputs(), "elsewhere"), PYTHONHASHSEED="2", TZ="Asia/Tokyo").returncode == 0
    for name in OUTPUTS:
        content = (tmp_path / "elsewhere" / name).read_bytes()
        assert content == (report / "out" / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_warnings_are_lines_of_their_own(main, capsys):
    files = inputs()
    files["split"]["accounts"][2]["expected"] = 3003
    files["binarize"]["splits"]["valid"]["de"]["unknown"] = 4
    main(files, {"tok/test.de": "a b\nk l m n\n"})
    lines = capsys.readouterr().err.split("\n")
    assert [line.partition(";")[0] for line in lines] == [
        "warning: train and test overlap, lines of train that are in test too: 1 in de",
        "warning: split, test: 2 lines, but 3,003 are published",
        "warning: binarise, valid in de: 1.3% of the tokens are unknown to the dictionary",
        "",
    ]


# --- lines that appear or disappear ---


def change(files: dict, path: str, value: object) -> dict:
    *way, last = path.split("/")
    place = files
    for key in way:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return files


GAINED = counts("prepare", "valid", 3)
CUT = counts("split", "train", 6, {"x": 1})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train/accounts/0/lines_out", 3, "prepare of train, out: 3 lines, but 5 in minus those dropped are 4"),
        ("valid/accounts/0", GAINED, "prepare of valid, in: 3 lines, but split of valid wrote 2"),
        ("split/accounts/0", CUT, "collect of the whole corpus, out: 9 lines, but split, in, has in all 10"),
        ("train/lengths/before/de/5000", 2, "prepare of train, lengths before in de: 6 lines, but of 5"),
        ("test/lengths/after/en/1", 0, "prepare of test, lengths after in en: 1 lines, but of 2"),
        ("bpe.valid/lines", 1, "bpe of valid: 1 lines, but the step before wrote 2"),
        ("bpe.valid/lengths/en/1", 7, "bpe of valid, lengths in en: 8 lines, but of 2"),
        ("binarize/splits/test/en/sentences", 1, "binarise of test in en: 1 lines, but bpe has 2"),
    ],
)
def test_counts_that_do_not_add_up_are_a_bug(main, tmp_path, path, value, message):
    with pytest.raises(RuntimeError, match=message):
        main(change(inputs(), path, value))
    assert not (tmp_path / "out").exists()


def test_text_with_another_number_of_lines_is_a_bug(main):
    with pytest.raises(RuntimeError, match="tok of train: 1 lines, but the step before wrote 4"):
        main(inputs(), {"tok/train.de": "a\n", "tok/train.en": "A\n"})


def test_steps_of_several_files_follow_one_another():
    line_counts = [data_report.LineCounts(**counts("generate", split, 9)) for split in TEXT]
    line_counts.append(data_report.LineCounts(**counts("prepare", "train", 9, {"empty": 2})))
    line_counts.append(data_report.LineCounts(**counts("join", "train", 7, {"duplicate": 3})))
    assert data_report.check_line_counts(line_counts) == {"train": 4, "valid": 9, "test": 9}


def test_lengths_span_all_reports_of_a_split():
    def report(split: str, lines_in: int, before: int, dropped: int, after: int) -> data_report.StepReport:
        lengths = {"before": {"de": {before: lines_in}}, "after": {"de": {after: lines_in - dropped, 99: 0}}}
        return data_report.StepReport(accounts=[counts("step", split, lines_in, {"x": dropped})], lengths=lengths)

    reports = [
        report("train", 9, 5, 2, 4),
        report("valid", 1, 1, 0, 1),
        report("test", 1, 1, 0, 1),
        report("train", 7, 4, 1, 3),
    ]
    bpe = [data_report.Segmented(split=s, lines=1, words={}, pieces={}, lengths={"de": {8: 1}}) for s in TEXT]
    found = data_report.gather_lengths(reports, bpe, ["de"])
    assert [found["train", "de", stage] for stage in ("before", "after", "bpe")] == [{5: 9}, {3: 6}, {8: 1}]


# --- overlap ---


def overlap(folder: Path, **splits: tuple[str, str]) -> dict:
    for split, sides in splits.items():
        for language, text in zip(("de", "en"), sides, strict=True):
            (folder / f"{split}.{language}").write_bytes(text.encode())
    lines = {split: sides[0].removesuffix("\n").count("\n") + 1 for split, sides in splits.items()}
    return data_report.overlaps(folder, ("de", "en"), lines)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        pytest.param(
            [("a\na\na\nb\nc\n", "A\nA\nX\nB\nC\n"), ("a\nb\n", "A\nY\n"), ("c\nc\na", "C\nC\nZ")],
            [[4, 2, 2], [4, 1, 1], [1, 0, 0]],
            id="lines of the first split are counted",
        ),
        pytest.param(
            [("a\nb\n", "B\nA\n"), ("a\nb\n", "A\nB\n"), ("x\n", "X\n")],
            [[2, 2, 0], [0, 0, 0], [0, 0, 0]],
            id="pairs are equal on both sides of one line",
        ),
        pytest.param(
            [("\n\n", "A\n\n"), ("\n\n", "A\n\n"), ("\nx\n", "\n\n")],
            [[0, 1, 1], [0, 0, 0], [0, 0, 0]],
            id="empty lines are no sentences",
        ),
    ],
)
def test_overlaps(tmp_path, splits, expected):
    found = overlap(tmp_path, **dict(zip(TEXT, splits, strict=True)))
    assert [found[pair] for pair in combinations(TEXT, 2)] == expected


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\r", "\x0c"])
def test_lines_end_at_newline_alone(tmp_path, mark):
    train, valid = (f"a{mark}b\nc\n", "A\nC\n"), (f"x\na{mark}b\n", "X\nA\n")
    found = overlap(tmp_path, train=train, valid=valid, test=("b\na\n", "Y\nZ\n"))
    assert found == {("train", "valid"): [1, 1, 1], ("train", "test"): [0, 0, 0], ("valid", "test"): [0, 0, 0]}


def test_training_text_is_not_held_in_memory(tmp_path):
    text = "".join(f"{number} {'x' * 200}\n" for number in range(20_000))
    overlap(tmp_path, train=("a\n", "A\n"), valid=("b\n", "B\n"), test=("c\n", "C\n"))
    for language in ("de", "en"):
        (tmp_path / f"train.{language}").write_text(text, encoding="utf-8")
    tracemalloc.start()
    data_report.overlaps(tmp_path, ("de", "en"), {"train": 20_000, "valid": 1, "test": 1})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(text) / 4


# --- refusals ---


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train/accounts/0/lines_in", "5", r"train\.json: 'accounts\.0\.lines_in' is missing or of a wrong type"),
        ("train/accounts/0/lines_in", True, r"train\.json: 'accounts\.0\.lines_in' is missing or of a wrong type"),
        ("bpe.test/words", {"de": -1}, r"bpe\.test\.json: 'words\.de' is missing or of a wrong type"),
        ("binarize", [], r"binarize\.json: 'content' .*; delete it and run the step that writes it"),
        ("test/accounts", [], "--line-counts, lengths: has no test"),
        ("test/lengths/after", {"de": {"1": 1, "4": 1}}, "prepare of test, lengths after: has no en"),
        ("train/accounts/0/step", "split", "--line-counts: split of train is given twice; pass each file once"),
        ("bpe.valid/split", "test", "--bpe: of train, test, test; pass one file each of"),
        ("bpe.valid/words", {"de": 3, "fr": 3}, "--bpe, valid: has no en"),
        ("binarize/dictionaries", {"en": 9}, "--binarized, dictionaries: has no de"),
        ("binarize/splits/valid", {}, "--binarized, valid: has no de"),
    ],
)
def test_inputs_that_do_not_match_are_named(main, tmp_path, path, value, message):
    with pytest.raises(UserError, match=message):
        main(change(inputs(), path, value))
    assert not (tmp_path / "out").exists()


def test_sides_that_differ_in_length(main):
    with pytest.raises(UserError, match="tok/valid: one side ends after line 1; prepare the corpus again"):
        main(inputs(), {"tok/valid.en": "G H\n"})


def test_command_reports_a_missing_file_in_one_line(tmp_path):
    command = flags(tmp_path, inputs())
    (tmp_path / "bpe" / "test.en").unlink()
    done = call(command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {tmp_path}/bpe/test.en: is missing; run the step that writes it, or fix ")
    assert not (tmp_path / "out").exists()


def test_missing_report(main):
    files = inputs()
    files.pop("valid")
    with pytest.raises(UserError, match=r"valid\.json: cannot be read \(No such file or directory\); run the step"):
        main(files)


def test_one_language_for_both_sides(main):
    with pytest.raises(UserError, match="--source-lang and --target-lang are both de; name two languages"):
        main(inputs(), {}, "--target-lang", "de")
