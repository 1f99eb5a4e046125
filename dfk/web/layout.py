"""What stands where on the page, in Gradio's terms."""

from __future__ import annotations

from pathlib import Path

import fastapi
import gradio

from dfk.page import CLOSED_SET, Page
from dfk.web.html import HERE, answer, render

# Seconds: how often uploads are looked through, and how old they may become.
_SWEEP, _KEPT = 30, 60


def application(page: Page, name: str, max_upload_mb: int) -> fastapi.FastAPI:
    """The page as an ASGI application; without Gradio's own pages and footer."""
    # Fonts that the reader's system has: none is fetched.
    theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return gradio.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None),
        _blocks(page, name, max_upload_mb),
        path="/",
        theme=theme,
        css=(HERE / "style.css").read_text(),
        max_file_size=max_upload_mb * 2**20,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
    )


def _blocks(page: Page, name: str, max_upload_mb: int) -> gradio.Blocks:
    def show(path: str) -> tuple[None, str]:
        file = Path(path)
        # None empties the place for a file: it is ready for the next.
        return None, answer(page, file.read_bytes(), file.name)

    facts = {"name": name, "class_names": page.class_names, "max_upload_mb": max_upload_mb}
    title = f"{name}: which generator?"
    with gradio.Blocks(
        title=title, analytics_enabled=False, delete_cache=(_SWEEP, _KEPT)
    ) as blocks:
        _html(render("head.html.j2", **facts))
        # Of any type: what an image is, its bytes say. gradio.Image would decode it on its own.
        upload = gradio.File(show_label=False, label="Image file", height=140, elem_id="upload")
        shown = _html()
        _html(render("foot.html.j2", closed_set=CLOSED_SET))
        upload.upload(show, upload, [upload, shown], api_visibility="private")
    return blocks.queue(api_open=False, default_concurrency_limit=1)


def _html(text: str = "") -> gradio.HTML:
    return gradio.HTML(text, apply_default_css=False)
