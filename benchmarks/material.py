"""The training benchmarks' data: a corpus of random text, untrained teachers, and their caches.

Text and weights are random, because the speed of a training step depends on sizes alone. The workflow's own code writes
all files.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS))

from ekd_nmt.common.errors import UserError  # noqa: E402
from ekd_nmt.common.files import write_lines  # noqa: E402
from ekd_nmt.config.experiment import Experiment  # noqa: E402

LANGUAGES = ("de", "en")
NOTE = "sizes.txt"  # written last
SPECIAL = 4  # first symbols of each fairseq dictionary
VALID = 500  # sentences of the validation set, at most
MEAN, SPREAD = 25, 0.55  # target tokens of a sentence, its end included, and the sigma of their logarithm
SHORTEST, LONGEST = 3, 100
SOURCE_SPREAD = 0.15  # sigma of the logarithm of source length / target length


@dataclass(frozen=True)
class Sizes:
    """Sizes of corpus and models. Teachers differ from the student in their embedding dimension alone."""

    sentences: int
    source_symbols: int
    target_symbols: int
    embed_dim: int
    teachers: tuple[int, ...]
    ffn_dim: int
    heads: int
    layers: int


def options(
    sizes: Sizes, system: str, *, k: int | Literal["full"] = 32, beam: int = 5, **training: object
) -> dict[str, Any]:
    """The resolved options of ``plain``, ``teacherDIM``, ``onlineDIM`` or ``cachedDIM``, as in the workflow.

    Args:
        sizes: of the models.
        system: which of them.
        k: tokens of a position that a cache stores.
        beam: of the validation.
        training: options other than the workflow's defaults.

    Raises:
        UserError: a size is not valid.
    """
    shape = {"ffn_dim": sizes.ffn_dim, "heads": sizes.heads, "layers": sizes.layers}
    models = {"student": {"embed_dim": sizes.embed_dim} | shape}
    systems: dict[str, dict[str, Any]] = {"plain": {"model": "student"}}
    for dim in sizes.teachers:
        models[f"teacher{dim}"] = {"embed_dim": dim} | shape
        systems[f"teacher{dim}"] = {"model": f"teacher{dim}"}
        for mode in ("online", "cached"):
            systems[f"{mode}{dim}"] = {"model": "student", "teacher": f"teacher{dim}", "teacher_mode": mode}
    config = {
        "experiment": "benchmark",
        "models": models,
        "training": training | {"validation": {"beam": beam}},
        "distillation": {"top_k": k},
        "systems": systems,
        "table": {"baseline": "plain", "senior": f"teacher{sizes.teachers[-1]}"},
    }
    return Experiment(config).options(system)


class Material:
    """The files of one folder.

    Args:
        folder: files of an earlier run of the same sizes are reused.
        sizes: of corpus and models.
    """

    def __init__(self, folder: Path, sizes: Sizes):
        self.folder, self.sizes = folder, sizes
        self.data = folder / "bin"

    def teacher(self, dim: int) -> Path:
        """The model file of a teacher."""
        return self.folder / f"teacher{dim}/model.pt"

    def cache(self, dim: int, k: int | Literal["full"]) -> Path:
        """Folder of a teacher's cache; its summary is beside it, as ``.json``."""
        return self.folder / f"teacher{dim}/cache/k{k}"

    @property
    def there(self) -> bool:
        """Whether corpus and teachers are written.

        Raises:
            UserError: the folder has data of other sizes.
        """
        note = self.folder / NOTE
        if note.exists() and note.read_text(encoding="utf-8") != f"{self.sizes!r}\n":
            raise UserError(f"{self.folder}: has data of other sizes; name another folder")
        return note.exists()

    def make(self) -> None:
        """Write corpus and teachers. Call it in a separate process, because it imports fairseq."""
        from ekd_nmt.common.log_filters import quiet

        quiet()
        write_corpus(self.data, self.sizes)
        for dim in self.sizes.teachers:
            write_teacher(self.teacher(dim), self.data, options(self.sizes, f"teacher{dim}"))
        write_lines(self.folder / NOTE, [repr(self.sizes)])

    def make_cache(self, dim: int, k: int | Literal["full"], *, threads: int, cpu: bool) -> dict[str, Any]:
        """Run cache_teacher.py unless the cache exists; returns its summary.

        Raises:
            UserError: the step failed.
        """
        place = self.cache(dim, k)
        summary = place.with_name(f"{place.name}.json")
        if not place.is_dir():
            flags = {"teacher": self.teacher(dim), "data": self.data, "top-k": k, "threads": threads}
            flags |= {"output": place, "summary": summary}
            command = [sys.executable, str(SCRIPTS / "cache_teacher.py"), *(["--cpu"] if cpu else [])]
            command += [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]
            # --threads sets the number of threads
            result = subprocess.run(
                command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
            if result.returncode:
                raise UserError(f"cache_teacher.py failed: {result.stderr.strip().splitlines()[-1]}")
        return json.loads(summary.read_text(encoding="utf-8"))


def lengths(sentences: int, generator: random.Random) -> Iterator[tuple[int, int]]:
    """Source and target lengths in tokens, end of sentence included."""
    for _ in range(sentences):
        target = MEAN * generator.lognormvariate(-(SPREAD**2) / 2, SPREAD)
        source = target * generator.lognormvariate(0, SOURCE_SPREAD)
        yield tuple(min(max(round(length), SHORTEST), LONGEST) for length in (source, target))


def write_corpus(folder: Path, sizes: Sizes) -> None:
    """Write dictionaries, training and validation set, binarised."""
    from kd.binarization import build_dictionary, encode

    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(1)
    dictionaries = []
    for language, symbols in zip(LANGUAGES, (sizes.source_symbols, sizes.target_symbols), strict=True):
        words = Counter({f"{language}{number}": 1 for number in range(symbols - SPECIAL)})
        dictionaries.append(build_dictionary(words, sentences=1))
        dictionaries[-1].save(str(folder / f"dict.{language}.txt"))
    for split, sentences in {"train": sizes.sentences, "valid": min(VALID, sizes.sentences)}.items():
        pairs = list(lengths(sentences, generator))
        for side, (language, dictionary) in enumerate(zip(LANGUAGES, dictionaries, strict=True)):
            words = dictionary.symbols[SPECIAL:]
            lines = (" ".join(generator.choices(words, k=pair[side] - 1)) for pair in pairs)
            encode(lines, dictionary, folder / f"{split}.{'-'.join(LANGUAGES)}.{language}")


def write_teacher(path: Path, data: Path, resolved: dict[str, Any]) -> None:
    """Write an untrained model as train.py writes a trained one."""
    from kd.checkpoints import BEST
    from kd.setup import prepare, publish_model

    loop = prepare(resolved, data=data, progress=path.parent / "progress", seed=1, cpu=True, say=lambda line: None)
    loop.trainer.consolidate_optimizer()  # required by fairseq before saving
    loop.trainer.save_checkpoint(str(loop.folder / BEST), {})
    publish_model(loop, path)
