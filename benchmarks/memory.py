"""Peak memory of real trainings, cachings and translations, beside what the workflow would ask a cluster for.

    python benchmarks/memory.py --markdown table.md
    python benchmarks/memory.py --configs config --updates 60

Each step is a process of its own, called as the workflow calls it, on the CPU and in fp32: a few updates with a
validation, a checkpoint and the model at the end. The configurations are those of the project; the text is random and
of their sizes, with sentences up to the longest that the configuration lets through, because attention takes memory by
the square of the length. Models are hardly trained, so hypotheses run to their greatest length; for the translations,
this is set to twice the length of the source, which is what the estimate assumes of a trained model at most.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from material import LANGUAGES, ROOT, SCRIPTS, SPECIAL, lengths
from snakemake.utils import update_config
from tables import describe_machine, rows

from ekd_nmt.cluster import resource_estimates
from ekd_nmt.cluster.corpus_size import CorpusSize, longest_of
from ekd_nmt.cluster.resource_requests import CACHING_TOKENS
from ekd_nmt.common.command import positive_number, run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write, write_lines
from ekd_nmt.common.logs import say
from ekd_nmt.config.experiment import Experiment

EVALUATED = 200  # sentences of validation and test set
# by the name of a file in config/: symbols of the two dictionaries, about those of the real corpus, and sentences
CORPORA = {"config": (850, 850, 400), "multi30k": (7600, 5400, 500), "iwslt14": (8848, 6632, 800)}
TRAINED = ("student", "junior_teacher", "senior_teacher", "senior_student cached", "senior_student online")
MOST, BESIDES = 2.5, 500  # an estimate is at most so many times the peak, and so many MB
TEACHER = "senior_teacher"  # is cached, and translates beside the student
# Starts a command and prints its peak. Small itself, because a process counts the memory of the one it was forked from.
LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak(command: list[str]) -> float:
    """Run a command to its end; the greatest resident memory that it or a process it waited for had, in MB (10**6).

    Raises:
        UserError: it failed; with the last line of what it said.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True, env=environment)
    if result.returncode:
        raise UserError(f"{command[1]} failed: {(result.stderr.strip() or '?').splitlines()[-1]}")
    return int(result.stdout.split()[-1]) * 1024 / 1e6


@dataclass(frozen=True)
class Peak:
    """Of one step, in MB."""

    config: str
    step: str
    estimate: int
    measured: float

    @property
    def fits(self) -> bool:
        """Whether the estimate is enough and not far too much."""
        return self.measured <= self.estimate <= MOST * self.measured + BESIDES

    def row(self) -> list[str]:
        """Of the table."""
        ratio = f"{self.estimate / self.measured:.2f}"
        return [f"{self.config}: {self.step}", f"{self.estimate:,}", f"{self.measured:,.0f}", ratio]


class Case:
    """A configuration whose steps are measured, on a corpus of random text.

    Args:
        name: of a file in config/, without its ending.
        folder: for corpus and models; empty.
        updates: of each training.
    """

    def __init__(self, name: str, folder: Path, updates: int):
        self.name, self.folder, self.data = name, folder, folder / "bin"
        self.config: dict[str, Any] = {}
        for path in dict.fromkeys((ROOT / "config/config.yaml", ROOT / f"config/{name}.yaml")):
            update_config(self.config, yaml.safe_load(path.read_text(encoding="utf-8")))
        # many epochs, since the corpus is small
        systems = {system: {"max_epoch": updates, "match_updates_of": None} for system in self.config["systems"]}
        update_config(self.config, {"training": {"max_update": updates}, "systems": systems})
        *symbols, self.sentences = CORPORA[name]
        longest = longest_of(self.experiment())
        self.corpus = CorpusSize(self.sentences, EVALUATED, EVALUATED, *symbols, tokens=26, longest=longest)

    def experiment(self, teacher: str = "cached") -> Experiment:
        """The configuration with a few updates a training."""
        config = json.loads(json.dumps(self.config))
        update_config(config, {"distillation": {"teacher_mode": teacher}})
        return Experiment(config)

    def write_corpus(self) -> None:
        """Random text in three splits, with as many sentences of the greatest length as fill a batch.

        Imports fairseq: to be called in a process of its own.
        """
        from kd.binarization import build_dictionary, encode

        self.data.mkdir(parents=True)
        generator = random.Random(1)
        dictionaries = []
        for language, count in zip(LANGUAGES, self.corpus[3:5], strict=True):
            words = Counter({f"{language}{number}": 1 for number in range(count - SPECIAL)})
            dictionaries.append(build_dictionary(words, sentences=1))
            dictionaries[-1].save(str(self.data / f"dict.{language}.txt"))
        longest = self.corpus.longest
        extreme = self.experiment().config.training.max_tokens // longest + 1
        for split, count in {"train": self.sentences, "valid": EVALUATED, "test": EVALUATED}.items():
            pairs = [(longest, longest)] * extreme if split == "train" else []
            pairs += [(min(source, longest), min(target, longest)) for source, target in lengths(count, generator)]
            for side, (language, dictionary) in enumerate(zip(LANGUAGES, dictionaries, strict=True)):
                words = dictionary.symbols[SPECIAL:]
                lines = [" ".join(generator.choices(words, k=pair[side] - 1)) for pair in pairs]
                encode(iter(lines), dictionary, self.data / f"{split}.{'-'.join(LANGUAGES)}.{language}")
                if split == "test":
                    write_lines(self.folder / f"test.{language}", lines)

    def measure(self) -> Iterator[Peak]:
        """The steps in an order in which each finds what it needs."""
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(self.write_corpus).result()
        for name in TRAINED:
            system, _, mode = name.partition(" ")
            if mode == "cached":
                yield self.cache()
            yield self.train(system, mode)
        for system in (TRAINED[0], TEACHER):
            yield self.translate(system)

    def train(self, system: str, mode: str = "") -> Peak:
        """A training, whose model is kept."""
        experiment = self.experiment(mode or "cached")
        options, teacher = experiment.options(system), experiment.teacher(system)
        flags: dict[str, Any] = {"options": json.dumps(options), "data": self.data, "seed": 1}
        if teacher:
            flags["teacher"] = self.model(teacher)
        if mode == "cached":
            flags["teacher-cache"] = self.folder / "cache"
        models = experiment.model(system), experiment.model(teacher) if teacher else None
        estimate = resource_estimates.training_memory(options, *models, self.corpus, gpu=False)
        name = f"{system} {mode}".strip()
        return Peak(self.name, f"train {name}", estimate, peak(step("train", output=self.folder / name, **flags)))

    def cache(self) -> Peak:
        """The caching of the teacher."""
        experiment = self.experiment()
        k = experiment.config.distillation.top_k
        flags = {"teacher": self.model(TEACHER), "data": self.data, "top-k": k, "summary": self.folder / "cache.json"}
        model = experiment.model(TEACHER)
        estimate = resource_estimates.caching_memory(model, self.corpus, CACHING_TOKENS, full=k == "full", gpu=False)
        measured = peak(step("cache_teacher", output=self.folder / "cache", **flags))
        return Peak(self.name, f"cache {TEACHER}", estimate, measured)

    def translate(self, system: str) -> Peak:
        """The translation of the test set."""
        experiment = self.experiment()
        decoding = experiment.config.decoding
        flags: dict[str, Any] = {"source": self.folder / "test.de", "reference": self.folder / "test.en"}
        flags |= {"model": self.model(system), "data": self.data, "target-lang": LANGUAGES[1]}
        flags |= {"beam": decoding.beam, "max-tokens": decoding.max_tokens}
        flags |= {"max-len-a": 2, "max-len-b": 0}  # as the estimate has it
        estimate = resource_estimates.translating_memory(experiment.model(system), self.corpus, decoding, gpu=False)
        measured = peak(step("translate", output=self.folder / f"{system}.jsonl", **flags))
        return Peak(self.name, f"translate {system}", estimate, measured)

    def model(self, system: str) -> Path:
        """The model file of a system without a teacher."""
        return self.folder / system / "model.pt"


def step(name: str, **flags: Any) -> list[str]:
    """The command of a step of the workflow, on the CPU."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), "--cpu"]
    return command + [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", choices=CORPORA, default=list(CORPORA), help="default: all")
    number = positive_number("--updates", int, "a number")
    parser.add_argument("--updates", type=number, default=6, metavar="N", help="of a training (default: %(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    args = parser.parse_args()
    machine, peaks = describe_machine(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.configs:
            for found in Case(name, Path(folder, name), args.updates).measure():
                say(f"{found.config}: {found.step}: {found.estimate:,} MB estimated, {found.measured:,.0f} measured")
                peaks.append(found)
    table = rows(["step", "estimate, MB", "measured, MB", "ratio"], [each.row() for each in peaks])
    text = f"{machine}\n\n{args.updates} updates a training.\n\n{table}\n"
    print(text)
    if args.markdown:
        with atomic_write(args.markdown) as handle:
            handle.write(text)
    if wrong := [f"{each.config}: {each.step}" for each in peaks if not each.fits]:
        raise UserError(
            f"{', '.join(wrong)}: estimate below the peak or far above; correct ekd_nmt/cluster/resource_estimates.py"
        )


if __name__ == "__main__":
    run(main)
