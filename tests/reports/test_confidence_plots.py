"""What the report draws of `selective` and `open_set`, and that it draws nothing without them."""

import numpy as np

from dfk.evaluation import open_set, selective
from dfk.reports.confidence_plots import plots_of


def test_nothing_is_drawn_of_metrics_from_before():
    assert plots_of({"accuracy": 0.5}) == {}


def test_each_plot_shows_what_the_metrics_hold():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 50)
    scores = [open_set.scores(p, None) for p in (probabilities, probabilities[:20])]
    metrics = {
        "selective": selective.curve(rng.integers(0, 3, 50), probabilities),
        "open_set": open_set.measure(*scores, np.ones(50, bool), 0.5),
    }
    found = plots_of(metrics)
    assert {*found} == {"selective", "open_set"}
    assert ">images answered, the most confident first<" in found["selective"]
    score = metrics["open_set"]["histogram"]["score"].replace("_", " ")
    assert all(f">{text}<" in found["open_set"] for text in ("known", "unknown", score))
    # As many dots as points, and colours of the page.
    assert found["selective"].count("<use") >= 20 and "var(--accent)" in found["selective"]
