"""The error that a user can fix."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do, in one line."""
