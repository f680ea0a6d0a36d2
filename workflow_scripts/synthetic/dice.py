"""Reproducible draws.

Everything goes through ``random.Random.random``: it is the one method whose sequence Python promises to keep between
versions, so the same seed gives the same corpus on every interpreter the project supports.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Dice:
    """Draws from one seeded stream."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.random() < probability

    def between(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, items: Sequence[Item]) -> Item:
        """One item, all equally likely."""
        return items[int(self.random() * len(items))]

    def early(self, items: Sequence[Item]) -> Item:
        """One item, the first ones more likely, about as Zipf's law with exponent 1 has it."""
        return items[int(len(items) ** self.random()) - 1]

    def weighted(self, weights: Mapping[Item, float]) -> Item:
        """One key, as likely as its weight says."""
        point = self.random() * sum(weights.values())
        for item, weight in weights.items():
            point -= weight
            if point < 0:
                return item
        return item  # rounding left a sliver above the last weight


class Ranked(Generic[Item]):
    """Items drawn by Zipf's law: the item of rank r is drawn in proportion to r ** -exponent."""

    def __init__(self, items: Iterable[Item], exponent: float) -> None:
        self.items = tuple(items)
        self._cumulative = list(accumulate(rank**-exponent for rank in range(1, len(self.items) + 1)))

    def draw(self, dice: Dice) -> Item:
        """One item."""
        return self.items[
            min(bisect_right(self._cumulative, dice.random() * self._cumulative[-1]), len(self.items) - 1)
        ]
