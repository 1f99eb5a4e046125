"""The machine on rows is scikit-learn's, block by block; `test_svm.py` has it on images."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from dfk.models import rbf

RNG = np.random.default_rng(0)


def _rows(count, dtype="float32", width=40):
    rows = RNG.normal(100, 20, (count, width))
    rows[:, 0] = 7  # A constant column
    return rows.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_scikit_learns_svc_on_rows_of_any_dtype(dtype, classes):
    train, test, labels = _rows(120, dtype), _rows(50, dtype), np.arange(120) % classes
    machine = rbf.Machine.fit(train, labels, penalty=3.0)
    svc = make_pipeline(StandardScaler(), SVC(C=3.0, gamma=1 / 40))
    expected = svc.fit(train.astype(float), labels).decision_function(test.astype(float))
    found = machine.decision(test)
    assert found.shape == (50, classes)
    np.testing.assert_allclose(found[:, 1] if classes == 2 else found, expected, atol=2e-3)


@pytest.mark.parametrize(("rows", "width"), [(0, 5), (1, 5), (5000, 5), (300, 10**6)])
def test_blocks_cover_all_rows_in_their_order_and_are_small(rows, width):
    blocks = rbf.blocks(rows, width)
    assert [i for block in blocks for i in range(rows)[block]] == list(range(rows))
    sizes = [block.stop - block.start for block in blocks]
    assert all(size <= 1024 and 4 * size * width <= 2**28 for size in sizes)


@pytest.mark.parametrize("name", ["mean", "scale", "coefficients", "intercepts", "support"])
def test_arrays_that_do_not_fit_each_other_are_refused(name):
    parts = vars(rbf.Machine.fit(_rows(30), np.arange(30) % 3, penalty=1.0))
    wrong = parts[name] + 1 if name == "support" else parts[name][:-1]
    with pytest.raises(ValueError, match=f"{name}: does not fit"):
        rbf.Machine(**parts | {name: wrong})
