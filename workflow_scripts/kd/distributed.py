"""Communication between the ranks, the processes that train one model together."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

import torch

from ekd_nmt.common.errors import UserError
from kd.fairseq_api import all_reduce, distributed_init, get_data_parallel_group


def connect(cfg: Any, ranks: int) -> None:
    """Connect to the other ranks that ``torchrun`` started, and configure fairseq for them; no-op for one rank.

    The backend is gloo without CUDA or with ``--cpu``, otherwise NCCL.

    Args:
        cfg: fairseq's configuration; changed in place.
        ranks: number of ranks.

    Raises:
        UserError: this node has too few GPUs.
    """
    settings = cfg.distributed_training
    settings.distributed_world_size = ranks  # fairseq's default is the number of visible GPUs
    if ranks == 1:
        return
    here, local = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if not cfg.common.cpu:
        if here > torch.cuda.device_count():
            raise UserError(
                f"training.gpus: {here} requested, and this job can use {torch.cuda.device_count()} of "
                f"{socket.gethostname()}; set fewer, or request more from the cluster"
            )
        torch.cuda.set_device(local)
    settings.distributed_init_method = "env://"
    settings.distributed_rank = int(os.environ["RANK"])
    settings.device_id = local
    settings.distributed_no_spawn = True
    settings.distributed_backend = "gloo" if cfg.common.cpu else "nccl"
    settings.ddp_backend = "legacy_ddp"  # reduces gradients once an update, however many batches each rank has
    cfg.checkpoint.load_checkpoint_on_all_dp_ranks = True
    level = logging.getLogger().level
    distributed_init(cfg)
    logging.getLogger().setLevel(level)  # fairseq sets it to INFO on the first rank


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks. All ranks must call each method, equally often."""

    count: int
    rank: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files."""
        return self.rank == 0

    def largest(self, value: int) -> int:
        """The maximum over the ranks."""
        return self._reduce(value, "max")

    def total(self, value: int) -> int:
        """The sum over the ranks."""
        return self._reduce(value, "sum")

    def disconnect(self) -> None:
        """Wait for all ranks, and end the connection."""
        if self.count > 1:
            self.total(0)
            torch.distributed.destroy_process_group()

    def _reduce(self, value: int, operation: str) -> int:
        if self.count == 1:
            return value
        numbers = torch.tensor([value], dtype=torch.int64, device=self.device)
        return int(all_reduce(numbers, get_data_parallel_group(), operation).item())
