"""Valid files, changed at random: an answer or a reason, never an exception."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfk
from dfk import models
from dfk.data.sources import Unreadable, find
from dfk.errors import DfkError
from tests import corpus

FILES = sorted(corpus.good().items())
anything = settings(
    max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    shape = {"classes": 2, "input_shape": (8, 8, 3), "filters": (2,), "dropout": (0,)}
    models.DeepFakeNet(seed=1, **shape).save(path)
    return dfk.load(path)


@st.composite
def mutated(draw):
    """A valid file, some of whose bytes are overwritten, left out, doubled or cut off."""
    data = bytearray(draw(st.sampled_from(FILES))[1])
    for _ in range(draw(st.integers(1, 4))):
        # Most of what matters is at the start.
        at = draw(st.integers(0, min(60, len(data))) | st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        new = draw(st.binary(max_size=8) | st.just(bytes(data[at : at + 40])))
        data[at : at + length] = new
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


@anything
@given(st.lists(mutated(), min_size=1, max_size=4))
def test_a_mutated_image_is_answered_or_refused(classifier, files):
    whole = FILES[0][1]
    *found, last = classifier.predict([*files, whole])
    assert len(found) == len(files)
    for prediction in found:
        if prediction.error:
            assert prediction.label == "" and not prediction.probabilities.any()
        else:
            assert prediction.label in "01" and np.isclose(prediction.probabilities.sum(), 1)
    assert last.error == ""


@anything
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_any_csv_gives_sources_or_one_message(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    for head in (b"", b"path\n", b"image_id,label\n"):
        path = folder / "any.csv"
        path.write_bytes(head + content)
        try:
            found = list(find([str(path)]))
        except DfkError as error:
            assert "the first line must name" in str(error)
            continue
        for source in found:
            source.name.encode()
            assert isinstance(source.image, Unreadable | str)
