"""The configuration of cluster jobs."""

from __future__ import annotations

from pydantic import Field

from ekd_nmt.config.types import PositiveInt, Strict


class Cluster(Strict):
    """Limits of what jobs request from a cluster. Changing them reruns nothing."""

    request_gpus: bool = Field(
        True, description="request GPUs for training, caching and translating; false where the cluster has none"
    )
    max_runtime: PositiveInt = Field(
        1440,
        description="longest time limit that a job requests, in minutes; a longer training resumes in its next "
        "attempt. The one job that prepares a corpus requests the sum of its steps",
    )
    max_mem_mb: PositiveInt | None = Field(
        None, description="most memory that a job requests, in MB, for example what a node has; null: no limit"
    )
