"""The pages of this room as HTML: their templates, filled in, and how figures are written there."""

from __future__ import annotations

import math
import numbers
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from dfk.reports.results import duration
from dfk.text import printable

DASH = "\u2013"  # For what is not known


def render(template: str, **values: Any) -> bytes:
    """Fills a page in; text is escaped, whatever it holds."""
    return _environment().get_template(template).render(**values).encode()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent,
        decimal=_decimal,
        count=_count,
        duration=_duration,
        share=_share,
        path=_path,
    )
    return environment


def _shown(value: Any) -> Any:
    """A question mark for bytes of a file's name that are no text, and what `printable` escapes."""
    return printable(value.encode(errors="replace").decode()) if type(value) is str else value


def is_figure(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _percent(value: Any, digits: int = 2) -> str:
    return f"{value:.{digits}%}".replace("%", "\u202f%") if is_figure(value) else DASH


def _decimal(value: Any, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if is_figure(value) else DASH


def _path(value: str) -> Markup:
    """A path in which a line may end behind slashes and what joins words in names."""
    return Markup(re.sub("([/_])", r"\1<wbr>", str(escape(_shown(value)))))


def _share(value: Any) -> str:
    return f"{value:.1%}" if is_figure(value) else "0%"  # for CSS, not for people


def _count(value: Any) -> str:
    if not is_figure(value):
        return DASH
    return f"{value / 1e6:,.1f}\u202fM" if value >= 1e6 else f"{value:,.0f}"


def _duration(seconds: Any) -> str:
    return duration(seconds).replace(" ", "\u202f") if is_figure(seconds) else DASH
