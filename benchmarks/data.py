"""How fast raw text becomes binarised training data: pairs a second and peak memory of every step.

The steps are those of the workflow, called as its rules call them. The corpus is Tatoeba, if a mirror folder with it is
named, otherwise generated text; it is repeated with noise: every further copy of a pair has an invented name put into
both sides, drawn from a Zipfian million, so that neither words nor sentences repeat more than in a large corpus.

    python benchmarks/data.py --mirror DIR --sizes 30000 300000 3000000 --markdown table.md

The two numbers of workers run one after the other on each size, and their ratio is of the same run. Learning BPE is
timed and left out of the total, which is what a change of the text costs once the merges are there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS))

from ekd_nmt.common.command import run  # noqa: E402
from ekd_nmt.common.errors import UserError  # noqa: E402
from ekd_nmt.common.files import atomic_write, write_lines  # noqa: E402

LANGUAGES = ("de", "en")
FLAGS = ["--source-lang", "de", "--target-lang", "en"]
SHARDS = 4
HELD_OUT = 2000  # pairs each of validation and test set
NAMES = 1_000_000
MERGES = 8000
SAMPLE = 300_000
COUNTED = ("shard", "prepare", "join", "apply BPE", "join BPE", "binarise")  # into the total

Pair = tuple[str, str]


@dataclass
class Step:
    """What one step took: wall seconds, and the peak memory of its largest process in MB."""

    seconds: float = 0.0
    memory: float = 0.0


@dataclass
class Measurement:
    """All steps of one run, by name."""

    pairs: int
    workers: int
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From raw text to binarised data, without learning BPE."""
        return sum(self.steps[name].seconds for name in COUNTED)

    @property
    def memory(self) -> float:
        """Of the largest process, in MB."""
        return max(self.steps[name].memory for name in COUNTED)


def tatoeba(mirror: Path) -> list[Pair]:
    """German and English sentences of the mirror's copy."""
    from ekd_nmt.corpus.text_files import open_text

    lines = open_text(f"{mirror}/tatoeba/deu-eng.zip::deu.txt")
    return [(german, english) for english, german in (line.split("\t")[:2] for line in lines)]


def generated() -> list[Pair]:
    """Pairs of the demo grammar."""
    from synthetic.corpus import generate

    corpus = generate({"train": 30_000, "valid": 1, "test": 1}, seed=1, lemmas=20_000, exponent=1.0)
    return [(pair.source, pair.target) for pair in corpus["train"]]


def noisy(pairs: list[Pair], seed: int) -> Iterator[Pair]:
    """The pairs over and over, from the second round on with a name in each."""
    generator = random.Random(seed)
    for turn in count():
        for pair in pairs:
            if turn == 0:
                yield pair
                continue
            name = f"Na{int(NAMES ** generator.random()):x}"
            yield tuple(_put_in(text, name, generator) for text in pair)


def _put_in(text: str, name: str, generator: random.Random) -> str:
    words = text.split(" ")
    words.insert(generator.randrange(len(words) + 1), name)
    return " ".join(words)


def write_corpus(mirror: Path | None, size: int, folder: Path) -> None:
    """Write raw/{train,valid,test}; the latter two are the first pairs, so that there is overlap to be removed."""
    pairs = tatoeba(mirror) if mirror else generated()
    sizes = {"valid": HELD_OUT, "test": HELD_OUT, "train": size}
    for split, wanted in sizes.items():
        for side, language in enumerate(LANGUAGES):
            start = HELD_OUT if split == "test" else 0
            stream = (pair[side] for pair in noisy(pairs, seed=1))
            write_lines(folder / "raw" / f"{split}.{language}", islice(stream, start, start + wanted))


def call(script: str, *flags: object) -> float:
    """Run a step as the workflow does; return its peak memory in MB."""
    command = [sys.executable, str(SCRIPTS / script), *map(str, flags)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stderr=errors, env=os.environ | {"OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise UserError(f"{script} failed: {errors.read()}")
    return usage.ru_maxrss / 1024


class Pipeline:
    """The steps on the corpus of one folder, with so many processes at a time."""

    def __init__(self, folder: Path, pairs: int, workers: int):
        self.folder = folder
        self.measured = Measurement(pairs, workers)
        self.raw, self.tok, self.bpe, self.shards = (folder / name for name in ("raw", "tok", "bpe", "shards"))

    def run(self) -> Measurement:
        """All steps, in order."""
        raw, tok, codes = self.raw / "shards.json", self.tok / "shards.json", ["--codes", self.folder / "codes"]
        lowercase, limits = ["--lowercase"], ["--min-tokens", "1", "--max-tokens", "175", "--max-ratio", "1.5"]
        held_out = [
            word
            for split in ("valid", "test")
            for word in ("--held-out", *(self.tok / f"{split}.{language}" for language in LANGUAGES))
        ]
        self.timed("shard", [["shard_corpus.py", *sides(self.raw / "train"), "--shards", SHARDS, "--output", raw]])
        self.timed("small sets", self.whole("prepare.py", self.raw, self.tok, *lowercase))
        self.timed("prepare", self.sharded("prepare.py", self.raw, raw, *lowercase, *limits, *held_out))
        self.timed("join", [self.join(self.tok, raw, "--deduplicate", "--output-shards", tok)])
        self.timed("learn BPE", [self.learn()])
        self.timed("small sets", self.whole("apply_bpe.py", self.tok, self.bpe, *codes))
        self.timed("apply BPE", self.sharded("apply_bpe.py", self.tok, tok, *codes))
        self.timed("join BPE", [self.join(self.bpe, tok)])
        last = ["binarize.py", "--bpe-dir", self.bpe, *FLAGS, "--output-dir", self.folder / "bin"]
        self.timed("binarise", [[*last, "--workers", self.measured.workers]])
        return self.measured

    def timed(self, name: str, calls: list[list[object]]) -> None:
        """Call a step's script once with each of these words, several at a time."""
        start = time.perf_counter()
        with ThreadPoolExecutor(self.measured.workers) as pool:
            memory = list(pool.map(lambda words: call(*words), calls))
        self.measured.steps[name] = Step(time.perf_counter() - start, max(memory))

    def whole(self, script: str, source: Path, target: Path, *more: object) -> list[list[object]]:
        """Validation and test set."""
        return [
            [
                *(script, *sides(source / split), *sides(target / split, "output-"), *FLAGS, "--split", split),
                *("--report", target / f"{split}.json", *more),
            ]
            for split in ("valid", "test")
        ]

    def sharded(self, script: str, source: Path, index: Path, *more: object) -> list[list[object]]:
        """The shards of the training set."""
        return [
            [
                *(script, *sides(source / "train"), *sides(self.shards / str(number), "output-"), *FLAGS, *more),
                *("--report", self.shards / f"{number}.json", "--shards", index, "--shard", number),
            ]
            for number in range(SHARDS)
        ]

    def join(self, target: Path, index: Path, *more: object) -> list[object]:
        """Join the shards that were written last."""
        words: list[object] = ["join_shards.py", "--shards", index, *sides(target / "train", "output-"), *more]
        for flag, end in (("--source", "de"), ("--target", "en"), ("--reports", "json")):
            words += [flag, *(self.shards / f"{number}.{end}" for number in range(SHARDS))]
        return [*words, "--report", target / "train.json"]

    def learn(self) -> list[object]:
        """Merges of a sample of both sides."""
        words = ["learn_bpe.py", "--input", *(self.tok / f"train.{language}" for language in LANGUAGES)]
        words += ["--merges", MERGES, "--sample", SAMPLE, "--workers", self.measured.workers]
        return [*words, "--output", self.folder / "codes"]


def measure(folder: Path, pairs: int, workers: int) -> Measurement:
    """Run the pipeline once; print its speed on standard error."""
    measured = Pipeline(folder, pairs, workers).run()
    print(f"{pairs} pairs, {workers} workers: {pairs / measured.seconds:.0f} pairs/s", file=sys.stderr)
    return measured


def sides(text: Path, prefix: str = "") -> list[object]:
    """Two flags for the two sides of a text, such as ``--source TEXT.de --target TEXT.en``."""
    return [f"--{prefix}source", f"{text}.de", f"--{prefix}target", f"{text}.en"]


def table(measurements: list[Measurement]) -> str:
    """Markdown: a row a run, a column a step, and what they add up to."""
    head = ["pairs", "workers", *(f"{name}, s" for name in COUNTED), "all, s", "pairs/s", "peak MB", "learn BPE, s"]
    rows = [head, ["--:"] * len(head)]
    for each in measurements:
        seconds = [f"{each.steps[name].seconds:.1f}" for name in COUNTED]
        totals = [f"{each.seconds:.1f}", f"{each.pairs / each.seconds:,.0f}", f"{each.memory:.0f}"]
        learned = f"{each.steps['learn BPE'].seconds:.1f}"
        rows.append([f"{each.pairs:,}", str(each.workers), *seconds, *totals, learned])
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    peaks = ["", "Peak memory of the largest process, MB:", "", "| pairs | workers | " + " | ".join(COUNTED) + " |"]
    peaks.append("|" + "--:|" * (len(COUNTED) + 2))
    for each in measurements:
        memory = " | ".join(f"{each.steps[name].memory:.0f}" for name in COUNTED)
        peaks.append(f"| {each.pairs:,} | {each.workers} | {memory} |")
    return text + "\n" + "\n".join(peaks) + "\n"


def speedups(measurements: list[Measurement]) -> str:
    """Median ratio of one worker's time to two workers', for the whole and for the steps that are shared out."""
    lines = []
    for pairs in sorted({each.pairs for each in measurements}):
        one, two = ([each for each in measurements if (each.pairs, each.workers) == (pairs, n)] for n in (1, 2))
        both = list(zip(one, two, strict=False))
        if both:
            ratios = {
                name: statistics.median(a.steps[name].seconds / b.steps[name].seconds for a, b in both)
                for name in ("prepare", "apply BPE", "binarise")
            }
            ratios["all"] = statistics.median(a.seconds / b.seconds for a, b in both)
            listed = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
            lines.append(f"Two workers against one at {pairs:,} pairs, times faster: {listed}.\n")
    return "".join(lines)


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Measure the speed and memory of the data steps.")
    parser.add_argument("--mirror", type=Path, metavar="DIR", help="has tatoeba/deu-eng.zip (default: generated text)")
    parser.add_argument("--sizes", nargs="+", type=int, default=[30_000, 300_000], metavar="N", help="training pairs")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each size and number of workers")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for the corpora (default: a temporary one)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    args = parser.parse_args()

    measurements = []
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        for size in args.sizes:
            folder = Path(name) / str(size)
            # in a process of its own: a step's peak memory is at least that of the process that starts it
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                pool.submit(write_corpus, args.mirror, size, folder).result()
            for _ in range(args.repeats):
                measurements += [measure(folder, size, workers) for workers in args.workers]
    text = table(measurements) + "\n" + speedups(measurements)
    print(text)
    if args.markdown:
        with atomic_write(args.markdown) as handle:
            handle.write(text)


if __name__ == "__main__":
    run(main)
