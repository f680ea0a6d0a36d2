"""The errors that end a command in a known way."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can fix. The message says what is wrong, where, and what to do, in one line."""


class Interrupted(Exception):
    """A command was asked to stop and has saved its progress."""


class TooLarge(Interrupted):
    """A batch did not fit into memory; the next attempt takes smaller ones."""
