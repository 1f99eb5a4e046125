"""A map of images by what a model sees in them: which lie together, and where it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from dfk.data.catalog import Split
from dfk.inference import Classifier
from dfk.reports.plots import INK, SERIES, draw_svg

# Fewer make no map, and more take long on a large model.
FEWEST, MOST = 100, 300


class FeatureMap(NamedTuple):
    """A map, and what its reader must know.

    Attributes:
        svg: the plot.
        names: of the classes, in the order of the colours.
        images: how many points there are.
        share: of what differs between features, what the two axes hold.
    """

    svg: str
    names: list[str]
    images: int
    share: float


def of(
    classifier: Classifier, split: Split, probabilities: np.ndarray, names: Sequence[str]
) -> FeatureMap | None:
    """The features of up to 300 images of a split, by their two principal components.

    None for an SVM or a SavedModel, which have no features, where there are fewer than 100
    images, or more classes than colours.

    Args:
        classifier: what has answered.
        split: N images with their labels.
        probabilities: float [N, C], the answers.
        names: of the C classes.
    """
    import keras

    keras_model = isinstance(classifier.model, keras.Model)
    if not keras_model or len(split) < FEWEST or len(names) > len(SERIES):
        return None
    chosen = np.unique(np.linspace(0, len(split) - 1, min(len(split), MOST)).astype(int))
    features = classifier.features([split.images[int(i)] for i in chosen])
    there = np.isfinite(features).all(axis=1)
    chosen, features = chosen[there], features[there]
    if len(chosen) < FEWEST:
        return None
    places, share = project(features)
    labels, answers = split.labels[chosen], probabilities[chosen].argmax(axis=1)
    svg = draw_svg("map", (4.6, 3.4), lambda axes: _points(axes, places, labels, answers))
    return FeatureMap(svg, [str(name) for name in names], len(chosen), share)


def project(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Features [N, D] at two places [N, 2], and the share of their variance that these hold.

    Each feature counts alike, whatever its scale.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    pca = PCA(2, random_state=0)
    places = pca.fit_transform(StandardScaler().fit_transform(features.astype(np.float64)))
    return places, float(pca.explained_variance_ratio_.sum())


def _points(axes: Axes, places: np.ndarray, labels: np.ndarray, answers: np.ndarray) -> None:
    for k, colour in enumerate(SERIES):
        right = (labels == k) & (answers == k)
        wrong = (labels == k) & (answers != k)
        axes.scatter(*places[right].T, s=9, color=colour, linewidths=0)
        axes.scatter(*places[wrong].T, s=26, color=colour, linewidths=0.9, edgecolors=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(NullLocator())
    axes.set(xlabel="first component", ylabel="second")
