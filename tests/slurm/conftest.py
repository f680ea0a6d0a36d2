"""A cluster, and controllers that end with the test."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_runs import Controller

from slurm_cluster import Cluster, missing


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster that keeps no accounts, so that squeue is asked. On continuous integration it has to be there."""
    if reason := missing(accounting=False):
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # a path of pytest's own is too long for a socket; memory and GPUs for as many jobs as there are processors
    with (
        tempfile.TemporaryDirectory(prefix="slurm.") as base,
        Cluster(Path(base), gpus=4, cpus=4, memory_mb=64000) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def start(request) -> Callable[..., Controller]:
    """Starts a controller: see :class:`Controller`."""

    def _start(*arguments, **options) -> Controller:
        controller = Controller(*arguments, **options)
        request.addfinalizer(controller.kill)
        return controller

    return _start
