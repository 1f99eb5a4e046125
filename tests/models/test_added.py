"""Classes that a model gets more: what stays, and what is learned of them."""

import numpy as np
import pytest

from dfk import models
from dfk.errors import UsageError
from dfk.models import added
from tests.networks import CLASSES, ensemble, network
from tests.pictures import noise

IMAGES = np.stack([noise(20, 24, seed) for seed in range(6)]).astype("float32")
LARGE = np.stack([noise(50, 60, seed) for seed in range(2)]).astype("float32")


@pytest.mark.parametrize("side", [16, None])
def test_until_it_learns_a_model_answers_as_before(side, tmp_path):
    base = network(side)
    model = added.with_classes(base, ["new", "other"])
    assert models.class_names_of(model) == (*CLASSES, "new", "other")
    answers = model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(answers[:, :3], base.predict(IMAGES, verbose=0), atol=1e-6)
    assert answers[:, 3:].max() < 1e-6
    assert models.image_sizes(model) == models.image_sizes(base)
    assert models.smallest_image(model) == models.smallest_image(base)


def test_the_new_logits_are_linear_in_what_the_last_layer_saw(tmp_path):
    base = network(16)
    model = added.with_classes(base, ["new"])
    width = models.features_of(base).output_shape[-1]
    kernel = np.random.default_rng(1).normal(0, 1, (width, 1))
    added.set_logits(models.network_of(model), kernel, np.array([0.5]))
    features = models.features_of(base).predict(IMAGES, verbose=0)
    new = 1 / (1 + np.exp(-(features @ kernel + 0.5)))
    old = base.predict(IMAGES, verbose=0) * (1 - new)
    model.save(tmp_path / "model.keras")
    loaded = models.load_member(tmp_path / "model.keras")  # As safely as all that dfk loads
    np.testing.assert_allclose(
        loaded.predict(IMAGES, verbose=0), np.concatenate([old, new], axis=1), atol=1e-5
    )
    again = added.with_classes(loaded, ["third"])
    assert models.class_names_of(again) == (*CLASSES, "new", "third")
    np.testing.assert_allclose(
        again.predict(IMAGES, verbose=0)[:, :4], loaded.predict(IMAGES, verbose=0), atol=1e-5
    )


def test_of_large_images_it_averages_crops_as_its_base_does():
    base = models.with_test_crop(network(None), 24)
    model = added.with_classes(base, ["new"])
    assert models.crops_of(model).side == 24
    np.testing.assert_allclose(
        model.predict(LARGE, verbose=0)[:, :3], base.predict(LARGE, verbose=0), atol=1e-6
    )


def test_an_ensemble_is_no_model_that_gets_logits():
    with pytest.raises(UsageError, match="no features"):
        added.with_classes(ensemble(), ["new"])


@pytest.mark.parametrize(
    ("method", "off"), [("average", 1e-3), ("confidence", 0.2), ("gated", 1e-3)]
)
def test_an_ensemble_of_other_members_is_combined_as_before(method, off):
    before = models.Ensemble([network(16, seed=1), network(24, seed=2)], method=method)
    combine = models.network_of(before).get_layer("combine")
    draw = np.random.default_rng(0)
    combine.set_weights([x + draw.uniform(0.1, 1, x.shape) for x in combine.get_weights()])
    members = [added.with_classes(x, ["new"]) for x in models.members_of(before)]
    after = models.with_members(before, members, name="more")
    assert after.name == "more" and models.class_names_of(after) == (*CLASSES, "new")
    np.testing.assert_allclose(
        after.predict(IMAGES, verbose=0)[:, :3], before.predict(IMAGES, verbose=0), atol=off
    )


def test_a_stacker_cannot_be_kept():
    before = models.Ensemble([network(16, seed=1), network(24, seed=2)], method="stacked")
    with pytest.raises(UsageError, match="stacked"):
        models.with_members(before, models.members_of(before), name="more")


def _drawn(counts, shift=3.0, seed=0):
    """Features [N, 8 + 3] of three classes and a new one, each moved along an axis of its own."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    features = draw.normal(0, 1, (len(labels), 8)) + shift * np.eye(8)[labels]
    logits = shift * features[:, :3]
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return np.concatenate([features, logits], axis=1).astype(np.float32), labels


def _answers(learned, seen):
    return np.concatenate([seen[:, -3:], seen[:, :-3] @ learned.kernel + learned.bias], axis=1)


def test_a_class_is_learned_from_few_images_and_others_keep_theirs():
    train, _ = _drawn((500, 500, 500))
    held, labels = _drawn((200, 200, 200, 20), seed=1)
    learned = added.learn(train, held, labels, classes=3, most_lost=0.01)
    fresh, truth = _drawn((1000,) * 4, seed=2)
    answers = _answers(learned, fresh)
    before, after = (x[truth < 3].argmax(axis=1) for x in (fresh[:, -3:], answers))
    lost = (before == truth[truth < 3]).mean() - (after == truth[truth < 3]).mean()
    assert 0 <= lost < 0.02
    assert (answers[truth == 3].argmax(axis=1) == 3).mean() > 0.5
    assert (learned.unseen[labels == 3].argmax(axis=1) == 3).mean() > 0.4
    likeliest = added.learn(train, held, labels, classes=3, most_lost=1)
    assert (_answers(likeliest, fresh)[truth == 3].argmax(axis=1) == 3).mean() > 0.85
    assert (likeliest.bias > learned.bias).all()
    again = added.learn(train, held, labels, classes=3, most_lost=0.01)
    np.testing.assert_array_equal(again.kernel, learned.kernel)


def test_what_is_held_of_a_new_class_is_answered_by_what_has_not_learned_from_it():
    """Of features that tell nothing, those that made the weights would look found."""
    train, _ = _drawn((60, 60, 60), shift=0)
    held, labels = _drawn((60, 60, 60, 5), shift=0, seed=3)
    learned = added.learn(train, held, labels, classes=3, most_lost=1)
    own, unseen = (x[labels == 3, 3] for x in (_answers(learned, held), learned.unseen))
    assert own.mean() > unseen.mean() + 1e-3


def test_two_classes_are_told_apart():
    train, _ = _drawn((300, 300, 300))
    held, labels = _drawn((100, 100, 100, 20, 30), seed=4)
    learned = added.learn(train, held, labels, classes=3, most_lost=0.05)
    fresh, truth = _drawn((200,) * 5, seed=5)
    for label in (3, 4):
        found = _answers(learned, fresh)[truth == label].argmax(axis=1)
        assert (found == label).mean() > 0.6


def test_one_image_is_no_class():
    train, _ = _drawn((30, 30, 30))
    held, labels = _drawn((10, 10, 10, 1))
    with pytest.raises(ValueError, match="2 images"):
        added.learn(train, held, labels, classes=3, most_lost=0.01)
