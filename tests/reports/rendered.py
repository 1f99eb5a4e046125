"""A report that is rendered for real, and its page taken apart."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from dfk.reports.mistakes import Mistake
from dfk.reports.report import write_report

VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text; refuses tags that do not nest."""

    def __init__(self, source: str):
        super().__init__()
        self.source, self.tags, self.text, self.open = source, [], "", []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()
        self.text += " "

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data.replace("\u202f", " ")

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self) -> list[np.ndarray]:
        uris = [img["src"].removeprefix("data:image/png;base64,") for img in self.named("img")]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri in uris]


def arguments(names=("0", "1", "2", "3", "4"), n=60):
    """A run on `n` images: image i is of class i % C and every seventh is taken for the next."""
    count = len(names)
    labels = np.arange(n) % count
    predicted = np.where(np.arange(n) % 7 == 0, (labels + 1) % count, labels)
    probabilities = np.full((n, count), 0.2 / (count - 1), np.float32)
    probabilities[np.arange(n), predicted] = 0.8
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (labels, predicted), 1)
    scores = [{"precision": 0.9, "recall": 0.8, "f1": 0.85 - i / 1000} for i in range(count)]
    return {
        "title": "deepfakenet2",
        "metrics": {
            "experiment": "deepfakenet2",
            "model": "deepfakenet",
            "split": "validation",
            "n": n,
            "accuracy": 0.9336,
            "accuracy_ci95": [0.9184, 0.9461],
            "macro_f1": 0.9341,
            "per_class": [
                {"class": name, **score, "support": int(row.sum())}
                for name, score, row in zip(names, scores, matrix, strict=True)
            ],
            "confusion_matrix": matrix.tolist(),
            "nll": 0.2113,
            "ece": 0.0184,
            "temperature": 1.3071,
            "parameters": 287141,
            "wall_time_s": 2911.4,
            "train_images_per_s": 138.6,
        },
        "history": [
            {"epoch": i, "loss": 1 / i, "accuracy": 1 - 0.5 / i, "holdout_loss": abs(i - 3) + 0.5,
             "holdout_accuracy": 0.9, "learning_rate": 1e-4}
            for i in range(1, 6)
        ],
        "config": {"model": "deepfakenet", "seed": 0, "limit": None},
        "environment": {"packages": {"keras": "3.15.1"}, "gpus": ["H200", "H200"]},
        "mistakes": [mistake(confidence=0.8)],
        "probabilities": probabilities,
        "labels": labels,
    }  # fmt: skip


def mistake(confidence=0.8, image=None, image_id="0007", truth="1", predicted="2", overlay=None):
    image = np.zeros((100, 100, 3), np.uint8) if image is None else image
    return Mistake(image_id, image, truth, predicted, confidence, overlay)


def render(tmp_path, given=None, **changes) -> Page:
    path = tmp_path / "report.html"
    write_report(path, **{**(given or arguments()), **changes})
    return Page(path.read_text(encoding="utf-8"))
