"""What all tests share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Before TensorFlow is imported

import pytest

from tests.datasets import write_folders, write_kaggle


@pytest.fixture
def kaggle(tmp_path):
    """A data set in Kaggle's layout, to be damaged at will."""
    return write_kaggle(tmp_path / "kaggle")


@pytest.fixture
def folders(tmp_path):
    """The same images in class folders."""
    return write_folders(tmp_path / "folders")


@pytest.fixture
def logged(caplog):
    """What absl logged, from INFO up: `logged.text`."""
    with caplog.at_level("INFO", logger="absl"):
        yield caplog
