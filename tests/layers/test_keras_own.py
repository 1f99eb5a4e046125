"""Keras' own tests of the layers that some of ours stand in for, run on ours."""

import sys
import types
from unittest import mock

import pytest
from keras.src import layers as keras_layers
from keras.src.layers.normalization.batch_normalization_test import BatchNormalizationTest
from keras.src.layers.regularization.dropout_test import DropoutTest

from dfk import layers

# One test of that file is of grain, which need not be there for the others.
with mock.patch.dict(sys.modules, grain=types.ModuleType("grain")):
    from keras.src.layers.preprocessing.image_preprocessing.resizing_test import ResizingTest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Of what trains without weights


class _OnOurs:
    @pytest.fixture(autouse=True)
    def _instead(self, monkeypatch):
        name = type(self).__name__.removeprefix("Test")
        monkeypatch.setattr(keras_layers, name, getattr(layers, name))


class TestBatchNormalization(_OnOurs, BatchNormalizationTest):
    pass


class TestResizing(_OnOurs, ResizingTest):
    test_grain_compatibility = None


class TestDropout(_OnOurs, DropoutTest):
    pass


del BatchNormalizationTest, ResizingTest, DropoutTest
