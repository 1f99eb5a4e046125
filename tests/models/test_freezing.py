"""Which layers of a network train."""

import pytest

from dfk import models
from dfk.errors import UsageError
from dfk.models.freezing import set_trainable_from

OPTIONS = {"residual": {"filters": (2, 3)}, "deepfakenet": {"filters": (2, 2), "dropout": (0, 0)}}


def _trained(model):
    return [x.name for x in models.network_of(model).layers if x.trainable_weights]


@pytest.fixture(scope="module", params=["deepfakenet", "residual", "rich"])
def model(request, few_counts):
    build = models.BUILDERS[request.param]
    return build(classes=2, input_shape=(None, None, 3), **OPTIONS.get(request.param, {}))


def test_the_head_trains_alone_or_all_does(model):
    every = _trained(model)
    set_trainable_from(model, "")
    assert _trained(model) == ["logits"]
    set_trainable_from(model, "all")
    assert _trained(model) == every


def test_a_layer_or_block_is_where_training_begins(model):
    every = _trained(model)
    name = {"rich": "dense2"}.get(model.name, "block2")
    set_trainable_from(model, name)
    assert _trained(model) == every[every.index(next(x for x in every if x.startswith(name))) :]
    set_trainable_from(model, "all")
    with pytest.raises(UsageError, match=r"no block or layer 'block9'; it has [rsb]"):
        set_trainable_from(model, "block9")
