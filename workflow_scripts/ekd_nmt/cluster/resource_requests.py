"""Resource requests of the rules: memory, time, GPUs and nodes of each job, which grow when a job fails.

A request is not a parameter of a rule, so a changed estimate reruns nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ekd_nmt.cluster import resource_estimates as estimates
from ekd_nmt.cluster.corpus_size import UNKNOWN_FILE, corpus_size
from ekd_nmt.cluster.rule_table import RULES
from ekd_nmt.config.manifest import find_entry

if TYPE_CHECKING:
    from ekd_nmt.config.experiment import Experiment
    from ekd_nmt.config.manifest import Dataset

SNAKEMAKE = 300  # MB: the two processes of Snakemake in a cluster job, 135 each
GROWTH = (1.0, 1.5, 2.0)  # of the memory with each attempt; no more after the third, or no node would be large enough
START = 10  # minutes: imports, checksums of the inputs, a busy file system
STEP = 10  # minutes that times are rounded up to
START_SHORT, STEP_SHORT = 3, 1  # the same for steps without a lease: the times of a group of steps add up
CACHING_TOKENS = 4096  # of a batch of cache_teacher.py, which the workflow does not set


class ResourceRequests:
    """What the rules of an experiment request: functions that Snakemake calls for each job and each attempt."""

    def __init__(self, experiment: Experiment, manifest: Mapping[str, Dataset]):
        self._experiment, self._manifest = experiment, manifest
        self._cluster = experiment.config.cluster
        self.corpus = corpus_size(experiment, manifest)
        bpe = experiment.config.bpe
        self._learned_from = min(bpe.sample or self.corpus.train, self.corpus.train)

    def of(self, rule: str) -> dict[str, Callable[..., int | None]]:
        """The resources of a rule, by name; a training has further ones."""
        requests: dict[str, Callable[..., int | None]] = {"mem_mb": self.memory(rule), "runtime": self.runtime(rule)}
        return requests | {"gpu": self.gpus(rule)} if RULES[rule].gpu else requests

    def memory(self, rule: str) -> Callable[..., int]:
        """``mem_mb`` of a rule on each node, Snakemake's own processes included; it grows with each attempt."""

        def mem_mb(wildcards: Any, attempt: int) -> int:
            size = SNAKEMAKE + self._estimate(rule, wildcards)[0]
            request = _round_up(size * GROWTH[min(attempt, len(GROWTH)) - 1], 100)
            return min(request, self._cluster.max_mem_mb or request)

        return mem_mb

    def runtime(self, rule: str) -> Callable[..., int]:
        """``runtime`` of a rule in minutes: longer with each attempt, at most ``cluster.max_runtime``."""

        def runtime(wildcards: Any, attempt: int) -> int:
            start, step = (START, STEP) if RULES[rule].leased else (START_SHORT, STEP_SHORT)
            minutes = _round_up(start + self._estimate(rule, wildcards)[1], step)
            return min(attempt * minutes, self._cluster.max_runtime)

        return runtime

    def gpus(self, rule: str) -> Callable[..., int | None]:
        """``gpu`` of a rule, on all nodes together; None requests nothing, see ``cluster.request_gpus``."""

        def gpu(wildcards: Any) -> int | None:
            if not self._cluster.request_gpus:
                return None
            if rule != "train":
                return 1
            training = self._training(wildcards.system)
            return training["gpus"] * training["nodes"]

        return gpu

    def nodes(self, wildcards: Any) -> int:
        """``nodes`` of a training; also requested if it is 1, so that the GPUs of a training are on one node."""
        return self._training(wildcards.system)["nodes"]

    def on_several_nodes(self, value: Any) -> Callable[..., Any]:
        """``value`` for a training on several nodes; None, which requests nothing, for others.

        By default Snakemake's executor for SLURM starts a job in a job step of one node with all GPUs of the job, which
        SLURM refuses, and which could not reach the other nodes. In a job with the resource ``mpi`` it leaves ``srun``
        to the command (``ddp_launcher.py``). It then needs ``tasks``, one a node, and takes them for tasks of each GPU
        unless ``tasks_per_gpu`` is 0. ``value`` may be a function of the number of nodes.
        """

        def request(wildcards: Any) -> Any:
            nodes = self.nodes(wildcards)
            return None if nodes == 1 else value(nodes) if callable(value) else value

        return request

    def threads(self, wildcards: Any) -> int:
        """``threads`` of a training on each node: at least one for each of its processes there."""
        return max(self._experiment.config.threads, self._training(wildcards.system)["gpus"])

    def _estimate(self, rule: str, wildcards: Any) -> tuple[int, float]:
        """Memory in MB and time in minutes of a job."""
        experiment, corpus, gpu = self._experiment, self.corpus, self._cluster.request_gpus
        bpe, shards = experiment.config.bpe, experiment.data.shards
        if rule in ("train", "cache_teacher", "translate"):
            model = experiment.model(wildcards.system)
        if rule == "train":
            options, teacher = experiment.options(wildcards.system), experiment.teacher(wildcards.system)
            sizes = options, model, None if teacher is None else experiment.model(teacher), corpus, gpu
            memory = options["training"]["gpus"] * estimates.training_memory(*sizes)
            return memory, estimates.training_minutes(*sizes)
        if rule == "cache_teacher":
            memory = estimates.caching_memory(model, corpus, CACHING_TOKENS, wildcards.variant.startswith("full"), gpu)
            return memory, estimates.caching_minutes(model, corpus, CACHING_TOKENS, gpu)
        if rule == "translate":
            search = model, corpus, experiment.config.decoding, gpu
            return estimates.translating_memory(*search), estimates.translating_minutes(*search)
        memory = estimates.data_memory(rule, corpus, self._learned_from, bpe.workers)
        if rule == "fetch":
            size = find_entry(self._manifest, wildcards.dataset, wildcards.file).bytes or UNKNOWN_FILE
            return memory, size / estimates.BYTES_A_SECOND / 60
        return memory, estimates.data_minutes(rule, corpus, self._learned_from, bpe.merges, shards)

    def _training(self, system: str) -> Mapping[str, Any]:
        return self._experiment.options(system)["training"]


def _round_up(value: float, step: int) -> int:
    """The next multiple of ``step``."""
    return math.ceil(value / step) * step
