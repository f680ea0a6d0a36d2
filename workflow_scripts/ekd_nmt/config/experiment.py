"""An experiment: the checked configuration, its stage graph, and the paths of its files.

The rules read everything from here; nothing here depends on Snakemake. The stage graph is data: ``teacher`` and
``init`` are its edges, and one training rule serves plain training, distillation, evolving distillation and TAKD.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.checks import check
from ekd_nmt.config.errors import validation_message
from ekd_nmt.config.manifest import Dataset, load_manifest
from ekd_nmt.config.models import Config, Distillation, Model, System, Training, overridable
from ekd_nmt.config.types import SPLITS, StoredTokens, Strict


class Experiment:
    """A checked configuration.

    Args:
        config: the merged configuration, as YAML gives it. An entry of ``models`` or ``systems`` that is null is
            dropped, so that an overlay can remove it.

    Attributes:
        warnings: what is allowed but probably not intended, one line each.

    Raises:
        UserError: the first mistakes found, each with its key, its value and the fix.
    """

    def __init__(self, config: Mapping[str, Any]):
        config = dict(config)
        removed = set()
        for section in ("models", "systems"):
            if isinstance(entries := config.get(section), Mapping):
                config[section] = {name: entry for name, entry in entries.items() if entry is not None}
                removed |= entries.keys() - config[section].keys()
        try:
            self.config = Config.model_validate(config)
        except ValidationError as error:
            raise UserError(validation_message(error)) from None
        self.name = self.config.experiment
        self.seeds = self.config.seeds
        self.data = self.config.data
        self.systems: dict[str, System] = self.config.systems
        self.warnings: list[str] = check(self, removed)

    @cached_property
    def manifest(self) -> dict[str, Dataset]:
        """The public corpora."""
        return load_manifest()

    # The stage graph

    def teacher(self, system: str) -> str | None:
        """The system that ``system`` is distilled from."""
        return self.systems[system].teacher

    def init(self, system: str) -> str | None:
        """The system whose weights ``system`` starts from."""
        return self.systems[system].init

    def teacher_seed(self, system: str, seed: int) -> int:
        """The seed of the teacher that ``system`` learns from when it is trained with ``seed``."""
        return self.seeds[0] if self.distillation(system).teacher_seed == "first" else seed

    def lineage(self, system: str) -> list[str]:
        """``system`` and what it was initialised from, back to the random start, latest first."""
        chain = [system]
        while (parent := self.init(chain[-1])) is not None:
            chain.append(parent)
        return chain

    def epochs(self, system: str) -> int:
        """Epochs that ``system`` is trained for; ``match_updates_of`` sums those of a whole lineage."""
        budget = self.systems[system].match_updates_of
        if budget is not None:
            return sum(self.epochs(stage) for stage in self.lineage(budget))
        return self._training(system).max_epoch

    def updates(self, system: str) -> int | None:
        """The limit of updates of ``system``, if there is one; summed as in :meth:`epochs`."""
        budget = self.systems[system].match_updates_of
        if budget is None:
            return self._training(system).max_update
        limits = [self.updates(stage) for stage in self.lineage(budget)]
        known = [limit for limit in limits if limit is not None]
        return sum(known) if len(known) == len(limits) else None

    # What a training reads besides the corpus

    def teacher_file(self, system: str, seed: int) -> str | None:
        """The model file of the teacher, or None for plain training."""
        teacher = self.teacher(system)
        return None if teacher is None else self.run_path(teacher, self.teacher_seed(system, seed), "model.pt")

    def teacher_cache(self, system: str, seed: int) -> str | None:
        """The folder of the teacher's stored distributions, or None if the system learns from none."""
        teacher = self.teacher(system)
        if teacher is None or not self.cached(system):
            return None
        return self.cache_path(teacher, self.teacher_seed(system, seed), self.cache_variant(system))

    def init_file(self, system: str, seed: int) -> str | None:
        """The model file of the stage before, or None for a random start."""
        init = self.init(system)
        return None if init is None else self.run_path(init, seed, "model.pt")

    # Teacher caches

    def cached(self, system: str) -> bool:
        """Whether ``system`` learns from stored distributions of its teacher."""
        return self.teacher(system) is not None and self.distillation(system).teacher_mode == "cached"

    def cache_variant(self, system: str) -> str:
        """Name of the cache that ``system`` reads, among those of its teacher: stored tokens and temperature."""
        options = self.distillation(system)
        stored = "full" if options.top_k == "full" else f"top{options.top_k}"
        return stored if options.temperature == 1 else f"{stored}-T{options.temperature}"

    def cache_path(self, teacher: str, seed: int | str, variant: str) -> str:
        """Folder of a teacher's cache; its summary is the ``.json`` file beside it."""
        return self.run_path(teacher, seed, f"cache/{variant}")

    def caches(self) -> dict[tuple[str, int, str], tuple[StoredTokens, float]]:
        """Each cache that is read: (teacher, its seed, variant) → (top_k, temperature).

        In the order of the systems and seeds that first read them.
        """
        found: dict[tuple[str, int, str], tuple[StoredTokens, float]] = {}
        for system in filter(self.cached, self.systems):
            options, teacher = self.distillation(system), self.teacher(system)
            assert teacher is not None
            for seed in self.seeds:
                key = (teacher, self.teacher_seed(system, seed), self.cache_variant(system))
                found[key] = (options.top_k, options.temperature)
        return found

    # Resolved options

    def model(self, system: str) -> Model:
        """The architecture of ``system``."""
        return self.config.models[self.systems[system].model]

    def distillation(self, system: str) -> Distillation:
        """The distillation options of ``system``, its own overrides applied."""
        return _override(self.config.distillation, self.systems[system])

    def options(self, system: str) -> dict[str, Any]:
        """All options that decide the training of ``system``, and no others: plain JSON types, sorted keys.

        A training reruns if these or an input file change.
        """
        training = self._training(system).model_dump(mode="json")
        training |= {"max_epoch": self.epochs(system), "max_update": self.updates(system)}
        options = {
            "system": system,
            "model_name": self.systems[system].model,
            "model": self.model(system).model_dump(mode="json"),
            "training": training,
            "teacher": self.teacher(system),
            "init": self.init(system),
        }
        if self.teacher(system) is not None:
            # the teacher's seed is part of the input file's path, and keeping a cache changes no result
            left_out = {"teacher_seed", "keep_cache"} | (set() if self.cached(system) else {"top_k", "tail"})
            if self.distillation(system).top_k == "full":
                left_out |= {"tail"}
            options["distillation"] = self.distillation(system).model_dump(mode="json", exclude=left_out)
        return json.loads(json.dumps(options, sort_keys=True))

    def _training(self, system: str) -> Training:
        return _override(self.config.training, self.systems[system])

    # Paths

    @property
    def root(self) -> str:
        """Folder of this experiment."""
        return f"results/{self.name}"

    def data_path(self, step: str) -> str:
        """Folder or file of a data step."""
        return f"{self.root}/data/{step}"

    def sides(self, step: str, split: str) -> tuple[str, str]:
        """Source and target file of one split after one data step."""
        stem = self.data_path(f"{step}/{split}")
        return f"{stem}.{self.data.source_lang}", f"{stem}.{self.data.target_lang}"

    def shard(self, step: str, shard: str, end: str) -> str:
        """A file of one shard of the training text after one data step; ``end`` is a language or ``json``."""
        return self.data_path(f"shards/{step}/{shard}.{end}")

    def shards(self, step: str, end: str) -> list[str]:
        """The same file of all shards, in order."""
        return [self.shard(step, f"{number:04d}", end) for number in range(self.data.shards)]

    def binarized(self, splits: Iterable[str] = SPLITS) -> list[str]:
        """The binarised files of some splits, dictionaries first."""
        source, target = self.data.source_lang, self.data.target_lang
        folder = self.data_path("bin")
        return [f"{folder}/dict.{lang}.txt" for lang in (source, target)] + [
            f"{folder}/{split}.{source}-{target}.{lang}.{kind}"
            for split in splits
            for lang in (source, target)
            for kind in ("bin", "idx")
        ]

    def run_path(self, system: str, seed: int | str, file: str = "") -> str:
        """Folder of a trained system, or a file in it."""
        return f"{self.root}/{system}/seed{seed}" + (f"/{file}" if file else "")


def _override(defaults: Any, system: System) -> Any:
    """``defaults`` with those of its fields that ``system`` sets; nested options are merged key by key."""
    own = {key: value for key in overridable(type(defaults)) if (value := getattr(system, key)) is not None}
    for key, value in own.items():
        if isinstance(value, Strict):
            own[key] = getattr(defaults, key).model_copy(update=value.model_dump(exclude_none=True))
    return defaults.model_copy(update=own)
