"""What a user is told instead of a stack trace."""

from __future__ import annotations


class DfkError(Exception):
    """Something that the user can mend; the message says what, where and how."""

    exit_code = 1


class UsageError(DfkError, ValueError):
    """A flag is wrong, or flags do not fit each other, the data or the run's folder."""

    exit_code = 2
