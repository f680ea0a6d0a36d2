"""What the rules ask a cluster for: memory, time, GPUs and nodes of each job, and how it grows when a job fails.

A request is no parameter of a rule: another estimate makes nothing run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ekd_nmt.cluster import resource_estimates
from ekd_nmt.cluster.corpus_size import UNKNOWN_FILE, corpus_size
from ekd_nmt.corpus.manifest import find_entry

if TYPE_CHECKING:
    from ekd_nmt.config.experiment import Experiment
    from ekd_nmt.config.models import Model
    from ekd_nmt.corpus.manifest import Dataset

SNAKEMAKE = 300  # MB: the two processes of Snakemake in a job of a cluster, 135 each
GROWTH = (1.0, 1.5, 2.0)  # of the memory with each attempt, then no more: a request must not outgrow the nodes
START = 10  # minutes: imports, checksums of the inputs, a busy file system
STEP = 10  # minutes that times are rounded up to
START_DATA, STEP_DATA = 3, 1  # the same for steps on the corpus
LONG = ("train", "cache_teacher", "translate", "fetch")
CACHING_TOKENS = 4096  # of a batch of cache_teacher.py, which the workflow does not set


class Demand:
    """What the rules of an experiment ask for: functions that Snakemake calls for each job and each attempt.

    Args:
        experiment: the checked configuration.
        manifest: the public data sets.
    """

    def __init__(self, experiment: Experiment, manifest: Mapping[str, Dataset]):
        self._experiment, self._manifest = experiment, manifest
        self._cluster = experiment.config.cluster
        self._corpus = corpus_size(experiment, manifest)
        bpe = experiment.config.bpe
        self._learned_from = min(bpe.sample or self._corpus.train, self._corpus.train)

    def memory(self, rule: str) -> Callable[..., int]:
        """``mem_mb`` of a rule, on each node: half as much again in the second attempt, twice as much in those after.

        Snakemake's own processes in the job of a cluster are counted in.
        """

        def mem_mb(wildcards: Any, attempt: int) -> int:
            size = SNAKEMAKE + self._memory(rule, wildcards)
            asked = _up(size * GROWTH[min(attempt, len(GROWTH)) - 1], 100)
            return min(asked, self._cluster.max_mem_mb or asked)

        return mem_mb

    def runtime(self, rule: str) -> Callable[..., int]:
        """``runtime`` of a rule in minutes: longer with each attempt, and ``cluster.max_runtime`` at most."""

        def runtime(wildcards: Any, attempt: int) -> int:
            # those of a group of rules add up
            start, step = (START, STEP) if rule in LONG else (START_DATA, STEP_DATA)
            minutes = _up(start + self._minutes(rule, wildcards), step)
            return min(attempt * minutes, self._cluster.max_runtime)

        return runtime

    def gpus(self, rule: str) -> Callable[..., int | None]:
        """``gpu`` of a rule, on all nodes together; None, which is no request, with ``cluster.request_gpus: false``."""

        def gpu(wildcards: Any) -> int | None:
            if not self._cluster.request_gpus:
                return None
            if rule != "train":
                return 1
            training = self._training(wildcards.system)
            return training["gpus"] * training["nodes"]

        return gpu

    def nodes(self, wildcards: Any) -> int:
        """``nodes`` of a training. One also is asked for, lest the GPUs of a training be on two."""
        return self._training(wildcards.system)["nodes"]

    def on_several_nodes(self, value: Any) -> Callable[..., Any]:
        """``value`` for a training of several nodes and None, which is no request, for others.

        By default Snakemake's executor for SLURM starts a job in a step of one node, with all GPUs of the job, which
        SLURM refuses, and the step could not reach the other nodes. In a job with the resource ``mpi`` it leaves
        ``srun`` to what the job starts (``launch.py``). It then wants ``tasks``, which are one a node, and would take
        them for those of each GPU unless ``tasks_per_gpu`` is 0.

        Args:
            value: of the resource, or what gives it for the number of nodes.
        """

        def request(wildcards: Any) -> Any:
            nodes = self.nodes(wildcards)
            return None if nodes == 1 else value(nodes) if callable(value) else value

        return request

    def threads(self, wildcards: Any) -> int:
        """``threads`` of a training, on each node: one for each of its processes there at least."""
        return max(self._experiment.config.threads, self._training(wildcards.system)["gpus"])

    def _memory(self, rule: str, wildcards: Any) -> int:
        experiment, corpus, gpu = self._experiment, self._corpus, self._cluster.request_gpus
        if rule == "train":
            options = experiment.options(wildcards.system)
            model, teacher = self._models(wildcards.system)
            return options["training"]["gpus"] * resource_estimates.training_memory(
                options, model, teacher, corpus, gpu
            )
        if rule == "cache_teacher":
            full = wildcards.variant.startswith("full")
            return resource_estimates.caching_memory(
                experiment.model(wildcards.system), corpus, CACHING_TOKENS, full, gpu
            )
        if rule == "translate":
            return resource_estimates.translating_memory(
                experiment.model(wildcards.system), corpus, experiment.config.decoding, gpu
            )
        return resource_estimates.data_memory(rule, corpus, self._learned_from, experiment.config.bpe.workers)

    def _minutes(self, rule: str, wildcards: Any) -> float:
        experiment, corpus, gpu = self._experiment, self._corpus, self._cluster.request_gpus
        if rule == "train":
            options = experiment.options(wildcards.system)
            return resource_estimates.training_minutes(options, *self._models(wildcards.system), corpus, gpu)
        if rule == "cache_teacher":
            return resource_estimates.caching_minutes(experiment.model(wildcards.system), corpus, CACHING_TOKENS, gpu)
        if rule == "translate":
            return resource_estimates.translating_minutes(
                experiment.model(wildcards.system), corpus, experiment.config.decoding, gpu
            )
        if rule == "fetch":
            size = find_entry(self._manifest, wildcards.dataset, wildcards.file).bytes or UNKNOWN_FILE
            return size / resource_estimates.BYTES_A_SECOND / 60
        shards = experiment.data.shards
        return resource_estimates.data_minutes(rule, corpus, self._learned_from, experiment.config.bpe.merges, shards)

    def _models(self, system: str) -> tuple[Model, Model | None]:
        teacher = self._experiment.teacher(system)
        return self._experiment.model(system), None if teacher is None else self._experiment.model(teacher)

    def _training(self, system: str) -> Mapping[str, Any]:
        return self._experiment.options(system)["training"]


def _up(value: float, step: int) -> int:
    """The next multiple of ``step``."""
    return math.ceil(value / step) * step
