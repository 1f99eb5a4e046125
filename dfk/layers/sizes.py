"""Sizes of images: numbers, or scalar tensors where a graph does not know them yet."""

from __future__ import annotations

from keras import ops


def least(a, b):
    """The lesser of two sizes; a number where both are."""
    return min(a, b) if _are_numbers(a, b) else ops.minimum(a, b)


def largest(a, b):
    """The greater of two sizes; a number where both are."""
    return max(a, b) if _are_numbers(a, b) else ops.maximum(a, b)


def _are_numbers(*values) -> bool:
    return all(isinstance(value, int | float) for value in values)
