"""Keras layers of our own, registered under "dfk", one file each.

On TensorFlow the two layers that dominate the cost of a small CNN beside its
convolutions, `BatchNormalization` and `Dropout`, take a faster path than
Keras' own; everywhere else they are Keras' layers.
"""

from __future__ import annotations

from dfk.layers.batch_normalization import BatchNormalization
from dfk.layers.calibrated_softmax import CalibratedSoftmax
from dfk.layers.combining import ConfidenceWeightedAverage, Frozen, Scale
from dfk.layers.dropout import Dropout
from dfk.layers.gated_average import GatedAverage
from dfk.layers.high_pass import HighPass
from dfk.layers.native_crops import AverageCrops, NativeCrops
from dfk.layers.noise_statistics import NoiseStatistics
from dfk.layers.resizing import Resizing
from dfk.layers.rich_features import RichFeatures

__all__ = [
    "AverageCrops",
    "BatchNormalization",
    "CalibratedSoftmax",
    "ConfidenceWeightedAverage",
    "Dropout",
    "Frozen",
    "GatedAverage",
    "HighPass",
    "NativeCrops",
    "NoiseStatistics",
    "Resizing",
    "RichFeatures",
    "Scale",
]
