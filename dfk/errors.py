"""What a user is told instead of a stack trace."""

from __future__ import annotations

from dfk.text import printable


class DfkError(Exception):
    """Something that the user can mend; the message says what, where and how.

    Args:
        *lines: of the message. What a name in a line holds cannot make it two, nor anything else
            on a terminal.
    """

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(printable(str(line)) for line in self.args)


class UsageError(DfkError, ValueError):
    """A flag is wrong, or flags do not fit each other, the data or the run's folder."""

    exit_code = 2


class ImageError(DfkError, ValueError):
    """A model has no answer for an image; it may have one for others."""
