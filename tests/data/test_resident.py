"""Batches that a device makes are those of the pipeline: the same draws, the same pixels."""

import functools

import numpy as np
import pytest

from dfk.benchmarks import pictures
from dfk.data import augment, resident
from dfk.data.mixing import make_mixer
from dfk.data.pipeline import make_dataset, targets_of

jax = pytest.importorskip("jax")
COUNT, SIDE, BATCH = 22, 24, 5  # 4 steps, and two images that wait for the next epoch
SPLIT = pictures.split(pictures.images(COUNT, SIDE))
COMMON = {"classes": 5, "batch_size": BATCH, "seed": 3}


def _on_host(*, augmentations=(), mix=(0, 0), first_epoch=0, epochs=2, **options):
    dataset = make_dataset(
        split=SPLIT,
        training=True,
        augmentations=augment.parse(augmentations),
        mixer=make_mixer(*mix, 0.5),
        first_epoch=first_epoch,
        epochs=epochs,
        **COMMON,
        **options,
    )
    return [[np.asarray(x) for x in batch] for batch in dataset]


def _on_device(*, augmentations=(), mix=(0, 0), first_epoch=0, epochs=2, **options):
    recipe = resident.Recipe(
        height=SIDE,
        width=SIDE,
        augmentations=augment.parse(augmentations),
        mixup_alpha=mix[0],
        cutmix_alpha=mix[1],
        **COMMON,
        **options,
    )
    labels = targets_of(SPLIT.labels, 5).numpy()
    held = resident.Held(jax.numpy.array(resident.stacked(SPLIT)), jax.numpy.array(labels))
    make = jax.jit(functools.partial(resident.made, recipe))
    drawn = resident.drawn(SPLIT.labels, recipe, first_epoch=first_epoch, epochs=epochs)
    batches = []
    for block in drawn.as_numpy_iterator():
        for step in range(len(block["indices"])):
            numbers = jax.tree.map(lambda x, step=step: x[step], block)
            batches.append([np.asarray(x) for x in make(held, numbers)])
    return batches


@pytest.mark.parametrize(
    ("options", "differ"),
    [
        ({}, 0),
        ({"augmentations": ["flip", "vflip", "turn"], "crop": 17}, 0),
        # A place half way between two pixels is rounded one way or the other.
        ({"augmentations": ["rotate=30"]}, 1e-3),
        ({"augmentations": ["jitter=0.5", "blur", "flip"], "crop": 16}, 0),
        ({"augmentations": ["tone=0.5", "cut=0.5"]}, 0),
        # A grey level half way between two is rounded one way or the other.
        ({"augmentations": ["gaussian=2"]}, 1e-3),
        ({"mix": (0, 1.0), "crop": 20, "class_weight": [1, 1, 1, 1, 2.7]}, 0),
        ({"mix": (0.5, 0)}, 0),
        ({"mix": (0.5, 1.0), "balanced": True}, 0),
    ],
    ids=["plain", "moves", "rotate", "colours", "degraded", "gaussian", "cutmix", "mixup", "both"],
)
def test_the_device_makes_what_the_pipeline_makes(options, differ, monkeypatch):
    monkeypatch.setattr(resident, "AT_ONCE", 3)
    expected, found = _on_host(**options), _on_device(**options)
    assert len(expected) == len(found) == 8
    others = []
    for host, device in zip(expected, found, strict=True):
        assert [x.dtype for x in device] == [np.float32] * len(host)
        others.append(np.abs(host[0] - device[0]).max(axis=-1) > 1e-2)
        for own, other in zip(host[1:], device[1:], strict=True):
            np.testing.assert_allclose(own, other, atol=1e-5)
    assert np.mean(others) <= differ


def test_noise_is_as_strong_as_the_hosts_and_drawn_anew_for_each_image():
    options = {"augmentations": ["noise=20"], "epochs": 3}
    plain = _on_device(epochs=3)
    found = {}
    for name, made in {"host": _on_host, "device": _on_device}.items():
        added = [a[0] - b[0] for a, b in zip(made(**options), plain, strict=True)]
        found[name] = np.std(added, axis=(2, 3, 4)).ravel()
        assert all((x == np.round(x)).all() for x in added)
        assert len({image.tobytes() for batch in added for image in batch}) == len(found[name])
    np.testing.assert_allclose(found["device"], found["host"], rtol=0.15)
    assert found["device"].min() < 6 and found["device"].max() > 14
    again = _on_device(**options)
    rest = _on_device(**{**options, "first_epoch": 2})
    np.testing.assert_array_equal(again[-1][0], rest[-1][0])


def test_an_epoch_of_several_blocks_goes_on_where_another_ended(monkeypatch):
    options = {"augmentations": ["flip"], "crop": 8, "mix": (0, 1.0)}
    rest = _on_device(**options, first_epoch=1, epochs=3)
    monkeypatch.setattr(resident, "AT_ONCE", 2)
    whole = _on_device(**options, epochs=3)
    assert len(rest) == 8
    for own, other in zip(whole[4:], rest, strict=True):
        for a, b in zip(own, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("steps", "most", "sizes"),
    [
        (158, 128, [79, 79]),
        (1, 128, [1]),
        (128, 128, [128]),
        (316, 128, [79] * 4),
        (131, 128, [66, 65]),  # A prime
        (5, 2, [1] * 5),
    ],
)
def test_blocks_are_alike_where_they_can_be(steps, most, sizes, monkeypatch):
    monkeypatch.setattr(resident, "AT_ONCE", most)
    assert resident.blocks(steps) == sizes


def test_what_a_device_cannot_draw_is_told():
    steps = augment.parse(["flip", "turn", "jpeg=50", "degrade=0.5", "noise", "resize"])
    assert resident.others(steps) == ["jpeg", "degrade", "resize"]
    assert not resident.others(augment.parse(["light", "rotate", "jitter", "blur"]))
