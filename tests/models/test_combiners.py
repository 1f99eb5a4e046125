"""How members are combined: what a gate learns of degraded images, and what it is not shown."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from dfk.models import combiners

WIDTH = 388


def _evidence(images: int, seed: int, *, noisy: bool):
    """Of a member that is right on clean images, and of one that is right on noisy ones.

    Both are as sure wherever they are wrong. What a member answers beside is chance.
    """
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, images)
    wrong = (labels + draw.integers(1, 3, images)) % 3
    answers = [wrong, labels] if noisy else [labels, wrong]
    sure = [4 * np.eye(3)[x] + draw.normal(size=(images, 3)) for x in answers]
    statistics = draw.normal(size=(images, WIDTH))
    statistics[:, :40] += 2 * noisy
    return [*(softmax(x, axis=1) for x in sure), statistics], labels


def _views(images: int, seed: int):
    clean, labels = _evidence(images, seed, noisy=False)
    noisy, _ = _evidence(images, seed, noisy=True)
    return [[x.astype("float32") for x in view] for view in (clean, noisy)], labels


@pytest.fixture(scope="module")
def learned() -> dict[str, keras.Model]:
    """Combiners that have seen 200 images, clean and noisy."""
    views, labels = _views(200, 0)
    made = {}
    for method in ("confidence", "gated"):
        made[method] = combiners.build(method, 2, 3, seed=0)
        seen = views if method == "gated" else [view[:2] for view in views]
        combiners.learn(made[method], seen, labels, np.ones(200, "float32"))
    return made


def _nll(logits: np.ndarray, labels: np.ndarray) -> float:
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()


def test_a_gate_finds_the_member_that_certainty_cannot(learned):
    (clean, noisy), labels = _views(1000, 1)
    for view, right in ((clean, 0), (noisy, 1)):
        gated = np.array(learned["gated"](view))
        assert (gated.argmax(axis=1) == labels).mean() > 0.95
        mean = np.mean(view[:2], axis=0)
        for others in (np.log(mean), np.array(learned["confidence"](view[:2]))):
            assert _nll(gated, labels) < _nll(others, labels) - 0.3
            assert (others.argmax(axis=1) == labels).mean() < 0.7
        shares = combiners.shares_of(learned["gated"], view, 2)
        assert shares.shape == (1000, 2) and shares.mean(axis=0)[right] > 0.7


def test_its_own_weights_are_those_on_clean_images(learned):
    assert combiners.weights_of(learned["gated"])[0] > 0.7


def test_all_draws_of_an_image_are_in_one_fold(monkeypatch):
    """Which member is right is chance for each image, and so is what it looks like.

    Whoever has learned from one draw of an image knows the others; on new ones it is half right.
    """
    monkeypatch.setattr(combiners, "_ROUNDS", 4)
    draw = np.random.default_rng(0)
    right = draw.integers(0, 2, 100)
    labels = draw.integers(0, 2, 100)
    answers = [np.where(right == member, labels, 1 - labels) for member in (0, 1)]
    sure = [softmax(4.0 * np.eye(2)[x], axis=1).astype("float32") for x in answers]
    view = [*sure, draw.normal(size=(100, WIDTH)).astype("float32")]
    gate = combiners.build("gated", 2, 2, seed=0)
    unseen = combiners.learn(gate, [view] * 3, labels, np.ones(100, "float32"))
    assert unseen.shape == (100, 2)
    assert _nll(unseen, labels) > np.log(2) - 0.05


def test_the_order_of_what_a_gate_takes_is_members_then_statistics():
    names = [x.name for x in combiners.build("gated", 2, 3, seed=0).inputs]
    assert names == ["member0", "member1", "statistics"]
