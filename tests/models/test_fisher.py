"""Fisher's discriminant: scikit-learn's, with few images and with many."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dfk.models import fisher


def _drawn(count, width, classes=3):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    means = rng.normal(size=(classes, width))
    spread = rng.uniform(0.5, 2, width)
    features = means[labels] + rng.normal(size=(count, width)) * spread
    return features.astype(np.float32), labels


@pytest.mark.parametrize(("count", "width"), [(201, 12), (30, 80)], ids=["many", "few"])
@pytest.mark.parametrize("shrinkage", [0.001, 0.1, 0.9, 1.0])
def test_it_is_the_one_of_scikit_learn_but_for_its_scale(count, width, shrinkage):
    features, labels = _drawn(count, width)
    kernel, bias = fisher.discriminant(features.copy(), labels, shrinkage=shrinkage)
    assert (kernel.shape, bias.shape) == ((width, 3), (3,))
    expected = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=[1 / 3] * 3
    ).fit(features, labels)
    own, theirs = features @ kernel + bias, expected.decision_function(features)
    # What is the same for all classes changes no answer.
    own, theirs = (x - x.mean(axis=1, keepdims=True) for x in (own, theirs))
    np.testing.assert_allclose(own / own.std(), theirs / theirs.std(), atol=2e-4)


def test_the_logits_of_the_means_deviate_by_one():
    features, labels = _drawn(30, 80)
    means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])
    kernel, bias = fisher.discriminant(features, labels, shrinkage=0.01)
    assert (means @ kernel + bias).std() == pytest.approx(1, abs=1e-4)
