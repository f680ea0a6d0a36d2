"""The connection between the processes that train one model together, the ranks."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.distributed import utils as distributed_utils

from ekd_nmt.common.errors import UserError


def connect(cfg: Any, ranks: int) -> None:
    """Meet the other ranks that ``torchrun`` started, and tell fairseq about them; nothing to do for one rank.

    Without CUDA, or with ``--cpu``, they are connected by gloo, otherwise by NCCL.

    Args:
        cfg: fairseq's configuration; changed.
        ranks: how many train together.

    Raises:
        UserError: this node has too few GPUs.
    """
    settings = cfg.distributed_training
    settings.distributed_world_size = ranks  # fairseq's default is the number of GPUs that it sees
    if ranks == 1:
        return
    here, local = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if not cfg.common.cpu:
        if here > torch.cuda.device_count():
            raise UserError(
                f"training.gpus: {here} are asked for, and {socket.gethostname()} lets this job use "
                f"{torch.cuda.device_count()}; set fewer, or ask the cluster for more"
            )
        torch.cuda.set_device(local)
    settings.distributed_init_method = "env://"
    settings.distributed_rank = int(os.environ["RANK"])
    settings.device_id = local
    settings.distributed_no_spawn = True
    settings.distributed_backend = "gloo" if cfg.common.cpu else "nccl"
    settings.ddp_backend = "legacy_ddp"  # adds up gradients once an update, however many batches each rank has
    cfg.checkpoint.load_checkpoint_on_all_dp_ranks = True
    level = logging.getLogger().level
    distributed_utils.distributed_init(cfg)
    logging.getLogger().setLevel(level)  # fairseq makes the first rank talk


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone it talks to nobody.

    Each method must be called by all ranks, the same number of times.
    """

    count: int
    rank: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def largest(self, value: int) -> int:
        """The largest value of all ranks."""
        return self._reduce(value, "max")

    def total(self, value: int) -> int:
        """The sum over the ranks."""
        return self._reduce(value, "sum")

    def part(self) -> None:
        """End the connection, when all ranks have come here."""
        if self.count > 1:
            self.total(0)
            torch.distributed.destroy_process_group()

    def _reduce(self, value: int, operation: str) -> int:
        if self.count == 1:
            return value
        numbers = torch.tensor([value], dtype=torch.int64, device=self.device)
        return int(distributed_utils.all_reduce(numbers, distributed_utils.get_data_parallel_group(), operation).item())
