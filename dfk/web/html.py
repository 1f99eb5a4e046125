"""The parts of the page as HTML."""

from __future__ import annotations

import base64
import functools
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from dfk.data.claims import CAUTION
from dfk.web.examination import Examiner, smaller

HERE = Path(__file__).parent


def answer(examiner: Examiner, data: bytes, *, rechecked: bool = False) -> str:
    """What there is to show of a file; the page's script puts in the file's name."""
    examination = examiner.examine(data, rechecked=rechecked)
    ranked = sorted(examination.probabilities.items(), key=lambda item: -item[1])
    return render("answer.html.j2", examination=examination, ranked=ranked, caution=CAUTION)


def render(template: str, **values: Any) -> str:
    """A template of this folder, filled in; values are escaped."""
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(picture=_picture, percent=_percent)
    return environment


def _picture(pixels: np.ndarray) -> str:
    """A data URI of pixels uint8 [H, W, 3], made smaller if they are many."""
    buffer = io.BytesIO()
    smaller(pixels).save(
        buffer, "PNG", compress_level=1
    )  # Within one machine: fast rather than small
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _percent(share: float) -> str:
    """What is not quite certain, or not quite impossible, does not look so."""
    if 0.9995 <= share < 1:
        return "> 99.9%"
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"
