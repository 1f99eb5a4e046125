"""Which images belong together: of one prompt, video or scene, by a column or by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from dfk.errors import UsageError

_SHOWN = 5


class Images(Protocol):
    """What is known of a split: ids, and cells of the column."""

    ids: Sequence[str]
    groups: Sequence[str] | None


def named(splits: Mapping[str, Images], group_by: str) -> dict[str, list[str] | None]:
    """The group of each image of each split.

    Args:
        splits: by name, with the cells of the column `group_by` where a CSV has it.
        group_by: the name of that column; if no CSV has it, a regular expression that is searched
            in the image id (of class folders `<class>/<file name>`). The group is what its first
            parentheses found, or all that it found without any.

    Returns:
        N names for each split; None for a test split in which not every image has one.

    Raises:
        UsageError: if an image of another split has none, or the expression is none.
    """
    if any(split.groups is not None for split in splits.values()):
        found = {
            name: list(split.groups or [""] * len(split.ids)) for name, split in splits.items()
        }
        where = "in the column of that name"
    else:
        expression = _compiled(group_by)
        found = {
            name: [_search(expression, i) for i in split.ids] for name, split in splits.items()
        }
        where = "by that expression, and no CSV has a column of that name"
    for name, groups in found.items():
        without = [i for i, group in enumerate(groups) if not group]
        if without and name != "test":
            raise UsageError(_message(group_by, name, splits[name], without, where))
    return {name: groups if all(groups) else None for name, groups in found.items()}


def _compiled(group_by: str) -> re.Pattern[str]:
    try:
        return re.compile(group_by)
    except re.error as error:
        raise UsageError(
            f"--group_by={group_by}: no CSV has a column of that name, and it is no regular "
            f"expression: {error}"
        ) from None


def _search(expression: re.Pattern[str], image_id: str) -> str:
    match = expression.search(image_id)
    return (match[1 if expression.groups else 0] or "") if match else ""


def _message(group_by: str, name: str, split: Images, without: Sequence[int], where: str) -> str:
    first = ", ".join(split.ids[i] for i in without[:_SHOWN])
    more = ", ..." if len(without) > _SHOWN else ""
    return (
        f"--group_by={group_by}: {len(without)} of the {len(split.ids)} images of {name} have no "
        f"group {where}: {first}{more}"
    )
