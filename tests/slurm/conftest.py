"""A cluster, and controllers that end with the tests."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_runs import Controller

from slurm_cluster import Cluster, missing


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster without accounting, so that squeue is polled. Required where ``CI`` is set."""
    if reason := missing(accounting=False):
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # pytest's own temporary paths are too long for a socket
    with (
        tempfile.TemporaryDirectory(prefix="slurm.") as base,
        Cluster(Path(base), gpus=4, cpus=4, memory_mb=64000) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def start(request) -> Callable[..., Controller]:
    """Starts a :class:`Controller`."""

    def _start(*arguments, **options) -> Controller:
        controller = Controller(*arguments, **options)
        request.addfinalizer(controller.kill)
        return controller

    return _start
