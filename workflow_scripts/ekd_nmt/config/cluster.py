"""The part of the configuration that is about clusters alone."""

from __future__ import annotations

from pydantic import Field

from ekd_nmt.config.types import PositiveInt, Strict


class Cluster(Strict):
    """What jobs ask a cluster for, within what the workflow computes; it changes no result, and nothing runs again."""

    gpu: bool = Field(
        True, description="training, caching and translating ask for GPUs; false where the cluster has none"
    )
    max_runtime: PositiveInt = Field(
        1440,
        description="longest time limit that a job asks for, in minutes; a longer training goes on in its next "
        "attempt. The one job that prepares a corpus asks for what its steps take together",
    )
    max_mem_mb: PositiveInt | None = Field(
        None, description="most memory that a job asks for, in MB, what a node has say; null: no limit"
    )
