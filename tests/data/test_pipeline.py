"""Each epoch shows each image once, in an order that the seed alone decides."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk.data import augment, catalog, pipeline
from dfk.data.catalog import Split
from dfk.data.mixing import make_mixer

CLASSES = 3
RANDOM = {
    "augmentations": augment.parse(["flip", "rotate=20", "jitter=0.3", "degrade=0.9"]),
    "crop": 6,
}


def _split(pixels, labels=None):
    """A split of these images; image i is of class i % 3."""
    names = [str(i) for i in range(len(pixels))]
    labels = [i % CLASSES for i in range(len(pixels))] if labels is None else labels
    return Split(names, names, np.array(labels, np.int32), names, pixels)


def _numbered(count):
    """Images of 2 x 2 whose pixels tell which one it is."""
    return _split([np.full((2, 2, 3), i, np.uint8) for i in range(count)])


def _noise(*sizes):
    rng = np.random.default_rng(0)
    return _split([rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes])


def _dataset(split, batch_size=4, classes=CLASSES, **options):
    return pipeline.make_dataset(split=split, classes=classes, batch_size=batch_size, **options)


def _batches(*arguments, **options):
    return list(_dataset(*arguments, **options).as_numpy_iterator())


def _order(batches):
    """The number of each image, in batches."""
    return [batch[:, 0, 0, 0].astype(int).tolist() for batch, _ in batches]


def _epochs(batches, epochs):
    """The numbers of the images of each epoch."""
    return np.reshape(_order(batches), [epochs, -1])


def _assert_same(some, others):
    for (image, label), (other_image, other_label) in zip(some, others, strict=True):
        np.testing.assert_array_equal(image, other_image)
        np.testing.assert_array_equal(label, other_label)


@pytest.mark.parametrize("mixed", [False, True])
def test_pairs_are_of_one_crop_and_mixed_alike(mixed):
    """What does not degrade an image much leaves both views the same."""
    options = {
        "augmentations": augment.parse(["flip", "tone=1e-6"]),
        "pairs": True,
        "crop": 6,
        "training": True,
        "mixer": make_mixer(0.0, 1.0, 0.5) if mixed else None,
    }
    for views, _ in _batches(_noise(*[(9, 9)] * 8), **options):
        assert views.shape == (4, 6, 6, 6)
        np.testing.assert_array_equal(views[..., :3], views[..., 3:])
    plain = {**options, "augmentations": augment.parse(["flip"])}
    assert _dataset(_noise((9, 9)), **plain).element_spec[0].shape[-1] == 3


# Training


def test_an_epoch_shows_no_image_twice_and_leaves_out_less_than_a_batch():
    batches = _batches(_numbered(23), training=True, epochs=30)
    for epoch in _epochs(batches, 30):
        assert len(set(epoch)) == len(epoch) == 20
    assert {i for numbers in _order(batches) for i in numbers} == set(range(23))


def test_every_epoch_has_an_order_of_its_own():
    epochs = _epochs(_batches(_numbered(24), training=True, epochs=20), 20)
    assert len({tuple(epoch) for epoch in epochs}) == 20
    assert list(range(24)) not in epochs.tolist()
    # Neither fixed batches, nor an order that is only moved on
    together = {frozenset(batch) for epoch in epochs for batch in epoch.reshape(6, 4)}
    assert len(together) > 110
    assert len(np.unique(np.diff(epochs) % 24)) > 15


def test_an_image_keeps_its_label():
    for batch, labels in _batches(_numbered(23), training=True, epochs=2):
        np.testing.assert_array_equal(labels.argmax(1), batch[:, 0, 0, 0] % CLASSES)


@pytest.mark.parametrize("options", [{}, RANDOM], ids=["order", "augmentations"])
def test_the_seed_alone_decides(options):
    split = _noise(*[(8, 8)] * 10)
    first = _batches(split, training=True, epochs=2, seed=1, **options)
    _assert_same(first, _batches(split, training=True, epochs=2, seed=1, **options))
    for seed in (0, 2, 1_001):
        other = _batches(split, training=True, epochs=2, seed=seed, **options)
        assert any(not np.array_equal(a, b) for (a, _), (b, _) in zip(first, other, strict=True))


@pytest.mark.parametrize("sizes", [[(8, 8)] * 21, [(8, 8), (9, 7), (6, 12)] * 7])
def test_the_number_of_threads_decides_nothing(sizes):
    dataset = _dataset(_noise(*sizes), image_size=8, training=True, epochs=3, **RANDOM)

    def with_threads(number):
        options = tf.data.Options()
        options.threading.private_threadpool_size = number
        options.threading.max_intra_op_parallelism = number
        options.autotune.enabled = number > 1
        return list(dataset.with_options(options).as_numpy_iterator())

    _assert_same(with_threads(1), with_threads(16))


@pytest.mark.parametrize("first_epoch", [1, 3])
def test_a_later_start_continues_what_was_not_interrupted(first_epoch):
    split = _noise(*[(8, 8)] * 10)
    whole = _batches(split, training=True, epochs=4, **RANDOM)
    rest = _batches(split, training=True, epochs=4, first_epoch=first_epoch, **RANDOM)
    assert len(whole) == 8
    _assert_same(whole[2 * first_epoch :], rest)


def test_no_step_repeats_the_draws_of_another():
    batches = _batches(_noise((8, 8)), training=True, epochs=40, batch_size=1, **RANDOM)
    assert len({batch.tobytes() for batch, _ in batches}) == 40


@pytest.mark.parametrize("balanced", [False, True])
def test_shards_part_every_batch_between_them(balanced):
    options = {"training": True, "epochs": 3, "batch_size": 6, "balanced": balanced}
    whole = _order(_batches(_numbered(23), **options))
    parts = [_order(_batches(_numbered(23), shard=(i, 3), **options)) for i in range(3)]
    assert [[*a, *b, *c] for a, b, c in zip(*parts, strict=True)] == whole


def test_shards_draw_apart():
    same = _split([_noise((8, 8)).images[0]] * 8)
    batches = [_batches(same, training=True, shard=(i, 2), **RANDOM) for i in range(2)]
    drawn = [image.tobytes() for shard in batches for images, _ in shard for image in images]
    assert len(set(drawn)) == 8


def test_a_batch_that_does_not_part_is_refused():
    with pytest.raises(ValueError, match="batches of 4 images do not part into 3 equal shares"):
        _dataset(_numbered(10), training=True, shard=(0, 3))


def test_augmentations_and_crop_follow_the_order():
    split = _noise(*[(8, 8)] * 10)
    plain = _batches(split, training=True)
    mirrored = _batches(split, training=True, augmentations=augment.parse(["flip=1"]))
    cropped = _batches(split, training=True, crop=5)
    places = set()
    for (image, _), (mirror, _), (crop, _) in zip(plain, mirrored, cropped, strict=True):
        np.testing.assert_array_equal(mirror, image[:, :, ::-1])
        windows = np.lib.stride_tricks.sliding_window_view(image, (5, 5), axis=(1, 2))
        for window, all_windows in zip(crop, windows, strict=True):
            equal = (np.moveaxis(all_windows, 2, -1) == window).all(axis=(2, 3, 4))
            assert equal.sum() == 1
            places.add(tuple(np.argwhere(equal)[0]))
    assert len(places) > 3


# Evaluation


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_evaluation_shows_every_image_once_and_in_order(batch_size):
    batches = _batches(_numbered(10), batch_size, augmentations=augment.parse(["flip"]))
    assert [i for numbers in _order(batches) for i in numbers] == list(range(10))
    assert {len(batch) for batch, _ in batches[:-1]} <= {batch_size}
    assert {batch.shape[1:] for batch, _ in batches} == {(2, 2, 3)}
    labels = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(labels, np.eye(CLASSES)[np.arange(10) % CLASSES])


def test_evaluation_may_be_augmented_and_repeats():
    """Batches of one size each are drawn for as they stand, whatever else is told of them."""
    split = _noise((4, 6), (6, 4), (4, 6))
    options = {"batches": [[0, 2], [1]], "augmentations": augment.parse(["noise=9"])}
    first, second = (_batches(split, **options) for _ in range(2))
    _assert_same(first, second)
    plain = _batches(split, batches=options["batches"])
    other = _batches(split, **options, seed=1)
    for one, clean, another in zip(first, plain, other, strict=True):
        assert 1 < np.abs(one[0] - clean[0]).mean() < 9
        assert np.abs(one[0] - another[0]).mean() > 1
        np.testing.assert_array_equal(one[1], clean[1])


def test_what_has_no_label_is_all_zeros():
    split = _split([np.zeros((2, 2, 3), np.uint8)] * 3, [2, catalog.UNLABELLED, 0])
    ((_, labels),) = _batches(split)
    np.testing.assert_array_equal(labels, [[0, 0, 1], [0, 0, 0], [1, 0, 0]])


# Both


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (12, 4), (3, 64), (1, 1)])
def test_the_cardinality_is_known_and_true(count, batch_size, training):
    dataset = _dataset(_numbered(count), batch_size, training=training, epochs=3, first_epoch=1)
    batches = list(dataset)
    assert int(dataset.cardinality()) == len(batches)
    per_epoch = pipeline.steps_per_epoch(count, batch_size)
    assert len(batches) == (2 * per_epoch if training else -(-count // batch_size))


def test_a_batch_is_no_larger_than_the_split():
    batches = _batches(_numbered(5), 64, training=True, epochs=2)
    assert [sorted(numbers) for numbers in _order(batches)] == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("image_size", "side"), [(0, 8), (12, 12)])
def test_types_shapes_and_range(training, image_size, side):
    options = RANDOM if training else {}
    dataset = _dataset(_noise(*[(8, 8)] * 10), image_size=image_size, training=training, **options)
    size, side = (4, 6) if training else (None, side)
    image_spec, label_spec = dataset.element_spec
    assert image_spec == tf.TensorSpec([size, side, side, 3], tf.float32)
    assert label_spec == tf.TensorSpec([size, CLASSES], tf.float32)
    values = np.concatenate([batch.ravel() for batch, _ in dataset.as_numpy_iterator()])
    assert values.min() >= 0 and 200 < values.max() <= 255


@pytest.mark.parametrize("sizes", [[(8, 8)] * 5, [(8, 8), (5, 9), (16, 4), (10, 10), (1, 1)]])
def test_images_are_resized_as_the_model_does(sizes):
    split = _noise(*sizes)
    layer = keras.layers.Resizing(10, 10, interpolation="bilinear")
    resized = np.concatenate([batch for batch, _ in _batches(split, image_size=10)])
    for image, result in zip(split.images, resized, strict=True):
        np.testing.assert_array_equal(result, layer(image.astype("float32")))


@pytest.mark.parametrize("image_size", [0, 8])
def test_an_image_of_the_right_size_keeps_its_pixels(image_size):
    split = _noise(*[(8, 8)] * 3)
    ((batch, _),) = _batches(split, image_size=image_size)
    np.testing.assert_array_equal(batch, np.stack(split.images))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([(8, 8), (5, 9)], r"2 sizes, from 9 x 5 to 8 x 8: train on crops .*--train_crop"),
        ([], "holds no image"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(sizes, message, training):
    with pytest.raises(ValueError, match=message):
        _dataset(_noise(*sizes), training=training)


@pytest.mark.parametrize(("image_size", "crop", "smallest"), [(0, 8, 7), (6, 7, 6)])
def test_a_crop_larger_than_the_images_is_refused(image_size, crop, smallest):
    message = f"--train_crop={crop} does not fit images of {smallest} pixels"
    with pytest.raises(ValueError, match=message):
        _dataset(_noise((7, 9)), image_size=image_size, crop=crop, training=True)


def test_turns_need_square_images():
    turns = augment.parse(["forensic"])
    with pytest.raises(ValueError, match=r"'turn' needs square images, these are 9 x 7; .*vflip"):
        _dataset(_noise((7, 9)), augmentations=turns, training=True)
    _dataset(_noise((7, 9)), augmentations=turns, training=True, image_size=8)


# Memory


@pytest.mark.parametrize("options", [{}, {"training": True}, {"training": True, "crop": 2}])
@pytest.mark.parametrize("sizes", [[(3, 3)] * 4, [(3, 3), (4, 5), (4, 5), (3, 3)]])
def test_images_go_when_their_dataset_goes(sizes, options):
    """TensorFlow keeps what a graph calls in Python, and with it what that refers to."""
    split = _noise(*sizes)
    image = weakref.ref(split.images[0])
    if len(set(sizes)) > 1:
        options = {**options, "image_size": 0 if "crop" in options else 4}
    dataset = _dataset(split, batch_size=2, **options)
    del split
    assert len(list(dataset)) == 2  # The dataset holds them as long as it is there.
    assert len(list(dataset)) == 2
    del dataset
    gc.collect()
    assert image() is None


def test_few_large_batches_are_in_work(monkeypatch):
    split = _noise(*[(64, 64)] * 8)
    monkeypatch.setattr(pipeline.hardware, "cores", lambda: 8)
    batch = 4 * 64 * 64 * pipeline._BATCHED
    for batches, expected in ((1.5, 1), (5.5, 5)):
        available = batches * batch / pipeline._IN_WORK
        monkeypatch.setattr(pipeline.hardware, "available_bytes", lambda x=available: x)
        assert pipeline._in_work(split, 4 * 64 * 64) == expected
    assert pipeline._threads(5) == 5
    assert pipeline._threads(8) == tf.data.AUTOTUNE
