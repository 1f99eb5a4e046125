"""Images as Python has them: the same pixels whatever they come in, or what is wrong and where."""

import io
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import dfk
from dfk.data import decode, inputs
from dfk.data.limits import Limits
from dfk.data.pixels import pixels_of
from dfk.data.sources import Unreadable
from dfk.errors import UsageError
from tests.networks import save_tiny
from tests.pictures import GOOD, encode, noise

PIXELS = noise(24, 18)


def _all(images):
    return [pixels_of(image) for image in inputs.each(images)]


def _same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", sorted(GOOD.keys() - {"large"}))
def test_what_holds_a_file_gives_the_pixels_of_the_file(kind, tmp_path):
    data = GOOD[kind]
    path = tmp_path / "image"
    path.write_bytes(data)
    expected = decode.decode(data).numpy()
    with open(path, "rb") as file, Image.open(path) as opened:
        many = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), file]
        _same(_all([*many, opened, opened, *many]), [expected] * 16)
        for one in (*many, opened):
            _same(_all(one), [expected])
        assert file.read() == data  # It stands where it stood.


@pytest.mark.parametrize("kind", ["grey", "palette", "alpha", "gif", "png", "webp"])
def test_a_loaded_pillow_image_gives_the_pixels_of_its_file(kind):
    image = Image.open(io.BytesIO(GOOD[kind]))
    image.load()
    _same(_all([image, image.copy()]), [decode.decode(GOOD[kind]).numpy()] * 2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_pillow_image_of_any_mode_that_a_png_has_is_as_that_png(mode):
    image = Image.fromarray(noise(9, 7, channels=4), "RGBA")
    if mode == "I;16":
        image = Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7) * 1000)
    image = image.convert("RGB" if mode in "1P" else mode) if mode != "I;16" else image
    image = image.convert(mode)
    assert image.mode == mode
    _same(_all(image), [decode.decode(encode(image, "PNG")).numpy()])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "F", "I", "La", "RGBa"])
def test_a_mode_that_no_file_of_an_image_has_is_refused(mode):
    assert pixels_of(Image.new(mode, (8, 8))) == (
        f"a Pillow image of mode {mode}: convert it to RGB"
    )


def test_a_jpeg_that_was_made_smaller_is_not_read_from_its_file():
    image = Image.open(io.BytesIO(encode(noise(64, 64), "JPEG")))
    image.draft("RGB", (32, 32))
    assert pixels_of(image).shape == (32, 32, 3)


def test_a_pillow_image_beyond_the_limits_is_not_decoded():
    image = Image.open(io.BytesIO(encode(PIXELS, "PNG")))
    limits = Limits(max_pixels=100)
    assert "more than 0 megapixels" in pixels_of(image, limits=limits)
    assert image.tile  # what is still to be read


def test_damaged_closed_and_text_files_are_errors_of_their_own(tmp_path):
    closed = io.BytesIO(encode(PIXELS, "PNG"))
    closed.close()
    cut = Image.open(io.BytesIO(encode(noise(64, 64), "PNG")[:-3000]))
    found = _all([closed, io.StringIO("text"), cut, PIXELS])
    assert found[0].startswith("images[0]: cannot be read: I/O operation on closed file")
    assert found[1] == "images[1]: cannot be read: open the file in binary mode"
    assert found[2].startswith("images[2]: cannot be read: ")
    _same(found[3:], [PIXELS])


def test_a_file_that_cannot_be_sought_is_read_from_where_it_stands():
    class Pipe(io.RawIOBase):
        rest = io.BytesIO(encode(PIXELS, "PNG"))

        def readinto(self, buffer):
            return self.rest.readinto(buffer)

        def readable(self):
            return True

    _same(_all([io.BufferedReader(Pipe())]), [PIXELS])


DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "int64", "uint64",
          "float16", "float32", "float64", "bfloat16")  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_any_dtype(dtype):
    pixels = PIXELS // 2  # int8 has no more.
    tensor = tf.cast(pixels, dtype)
    arrays = [] if dtype == "bfloat16" else [pixels.astype(dtype)]
    many = [tensor, tf.Variable(tensor), keras.ops.convert_to_tensor(pixels, dtype), *arrays]
    _same(_all(many), [pixels] * len(many))
    _same(_all(tf.stack([tensor] * 3)), [pixels] * 3)
    _same(_all(tensor), [pixels])


def test_tensors_of_jax():
    jax = pytest.importorskip("jax.numpy")
    _same(_all([jax.asarray(PIXELS), jax.asarray(PIXELS, "bfloat16")]), [PIXELS] * 2)
    _same(_all(jax.stack([jax.asarray(PIXELS, "float32")] * 2)), [PIXELS] * 2)


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(PIXELS)
    learned = tensor.float().requires_grad_()
    _same(_all([tensor, learned, tensor.to(torch.bfloat16)]), [PIXELS] * 3)
    assert "channels come last" in pixels_of(tensor.permute(2, 0, 1))


def test_fractions_are_rounded():
    wanted = np.array([0, 0, 1, 2, 254, 255], np.uint8).reshape(1, 2, 3)
    given = np.array([0, 0.4, 0.6, 2.4, 253.7, 255.0]).reshape(1, 2, 3)
    _same(_all([given]), [wanted])


def test_grey_and_alpha_are_taken_as_decode_takes_them():
    grey, alpha = PIXELS[..., 0], np.dstack([PIXELS, PIXELS[..., :1]])
    expected = np.repeat(grey[..., None], 3, axis=2)
    _same(_all([grey, grey[..., None], alpha]), [expected, expected, PIXELS])
    _same(_all(np.stack([alpha, alpha])), [PIXELS] * 2)
    _same(_all(memoryview(grey)), [expected])


def _wrong(fill, dtype=np.float32):
    array = PIXELS.astype(dtype)
    array[0, 0, 0] = fill
    return array


WRONG = {
    "infinite or no number": _wrong(np.nan),
    "are infinite": _wrong(np.inf),
    "0..255, got -3 to": _wrong(-3),
    "to 256": _wrong(256, np.int16),
    "floats in 0..1: multiply by 255": PIXELS / 255,
    "got uint8 [2, 5, 5, 3]": np.zeros((2, 5, 5, 3), np.uint8),
    "got uint8 [3, 24, 18]: channels come last": PIXELS.transpose(2, 0, 1),
    "got uint8 [24, 18, 2]": PIXELS[..., :2],
    "got uint8 [5]": np.zeros(5, np.uint8),
    "got bool": PIXELS > 7,
    "got complex128": PIXELS + 1j,
    "got uint8 [0, 4, 3]": np.zeros((0, 4, 3), np.uint8),
    "int is no image": 5,
    "NoneType is no image": None,
    "list is no image": PIXELS.tolist(),
    "dict is no image": {"image": PIXELS},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_taken_is_named_with_its_position(what):
    good, bad = _all([PIXELS, WRONG[what]])
    _same([good], [PIXELS])
    assert bad.startswith("images[1]: ") and what in bad
    if not isinstance(WRONG[what], list):
        assert what in pixels_of(WRONG[what])


def test_what_is_neither_an_image_nor_several_is_refused_at_once():
    for given in (5, None, {"image": PIXELS}):
        with pytest.raises(UsageError, match="is no image: give paths"):
            inputs.each(given)


def test_symbolic_tensors_are_refused():
    @tf.function
    def graph(x):
        assert "cannot be taken as an array" in inputs.taken(x)
        return x

    graph(tf.zeros((4, 4, 3)))
    assert "cannot be taken as an array" in inputs.taken(keras.Input((4, 4, 3)))


def test_a_block_is_judged_as_a_whole():
    dark = np.zeros((4, 4, 3), np.float32)
    dark[0, 0, 0] = 1
    bright = np.full((4, 4, 3), 9, np.float32)
    assert all(isinstance(x, np.ndarray) for x in _all(np.stack([dark, bright])))
    wrong = np.stack([dark, np.full_like(dark, np.nan), dark * 0])
    assert ["multiply" in x for x in _all(wrong)] == [True, False, True]
    assert "no number" in _all(wrong)[1]
    assert all(isinstance(x, np.ndarray) for x in _all(np.zeros((2, 4, 4, 3))))
    assert _all(np.zeros((0, 4, 4, 3))) == []


def test_arrays_of_texts_are_many(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for path in paths:
        Image.fromarray(PIXELS).save(path)
    _same(_all(np.array(paths)), [PIXELS] * 2)
    _same(_all(tf.constant([encode(PIXELS, "PNG")] * 3)), [PIXELS] * 3)


def test_images_are_taken_as_they_are_asked_for():
    endless = inputs.each(io.BytesIO(encode(PIXELS, "PNG")) for _ in itertools.count())
    assert pixels_of(next(endless)).shape == PIXELS.shape


def test_why_an_image_is_missing_keeps_its_words():
    assert list(inputs.each([Unreadable("gone")])) == ["gone"]


def test_a_classifier_answers_all_of_them_alike(tmp_path):
    classifier = dfk.load(save_tiny(tmp_path / "model.keras", "abc", 1))
    data = encode(PIXELS, "PNG")
    many = [data, io.BytesIO(data), Image.open(io.BytesIO(data)), PIXELS, tf.constant(PIXELS),
            PIXELS.astype(np.float64), PIXELS / 255]  # fmt: skip
    *found, refused = classifier.predict(many)
    for prediction in found:
        np.testing.assert_array_equal(prediction.probabilities, found[0].probabilities)
    assert refused.error == (
        "images[6]: expected pixels in 0..255, got floats in 0..1: multiply by 255"
    )
    with pytest.raises(UsageError, match="int is no image"):
        classifier.predict(5)
