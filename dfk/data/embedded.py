"""The embedded data set: five simulated generators, made by code in seconds.

No generator made these images. Each is a procedural scene that has gone through
one of five *simulated* decoders, which leaves the trace that is published for
such a decoder's last stage; the scenes themselves are drawn alike for every
class. As in the study, class 3 is easy, class 4 is hard (mistaken for 0 and 1),
and local traces tell more than raw pixels. The set shows that the machinery
works. An accuracy on it says nothing about real generators.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image
from scipy import fft, ndimage

from dfk.system import files

VERSION = 1  # In the folder's name: whoever changes a pixel raises it.
SIZE = 64
TRAIN, VALIDATION, TEST = 1600, 400, 200

_SPLITS = ("train", "validation", "test")  # The position keys a split's random numbers.
_SCENES, _LABELS, _CODEBOOK = range(3)  # Independent streams of random numbers.
_Y, _X = np.mgrid[0 : 1 : SIZE * 1j, 0 : 1 : SIZE * 1j]


def data_folder(data_dir: str) -> Path:
    """The folder that a `--data_dir` means: `demo` is this set, written if need be."""
    return write_demo() if data_dir == "demo" else Path(data_dir)


def write_demo(
    cache_dir: Path | None = None,
    *,
    train: int = TRAIN,
    validation: int = VALIDATION,
    test: int = TEST,
) -> Path:
    """Returns the folder of the simulated data set, made on the first call.

    Args:
        cache_dir: where the folder lies; by default `$XDG_CACHE_HOME/dfk` or `~/.cache/dfk`.
        train: images in this split; a multiple of 5 balances the classes. An image is the
            same whatever the number.
        validation: the same for this split.
        test: the same for this split, whose labels are not written.

    Returns:
        A folder with `train.csv` and `validation.csv` (`image_id,label`), `test.csv`
        (`image_id`) and the images, `<split>/<image_id>.png`, RGB 64x64. It appears whole or
        not at all, also when several processes ask at once.

    Raises:
        OSError: if the folder cannot be written.
    """
    cache = files.cache_dir() if cache_dir is None else Path(cache_dir)
    folder = cache / f"demo-v{VERSION}-{train}-{validation}-{test}"
    files.sweep(cache)
    if _complete(folder):
        return folder
    logging.info("Writing the demo images (simulated generators) to %s", folder)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with files.scratch(cache) as scratch:
            # Inside the scratch folder, which is private, it gets the permissions of the umask.
            draft = scratch / folder.name
            for split, count in zip(_SPLITS, (train, validation, test), strict=True):
                _write_split(draft, split, count)
            _publish(draft, folder)
    except OSError as error:
        reason = f"cannot write the demo images ({error.strerror or error}); set XDG_CACHE_HOME"
        raise OSError(error.errno, f"{reason} to a folder that can be written", cache) from error
    return folder


def holds(path: str | Path) -> bool:
    """Whether an image lies in such a folder, by the folder's name."""
    return any(re.fullmatch(r"demo-v\d+(-\d+){3}", part) for part in Path(path).parts)


def _complete(folder: Path) -> bool:
    return all((folder / f"{split}.csv").is_file() for split in _SPLITS)


def _publish(draft: Path, folder: Path) -> None:
    try:
        os.rename(draft, folder)
    except OSError:
        # Another process was faster; its images are the same.
        if not _complete(folder):
            raise


def _write_split(folder: Path, split: str, count: int) -> None:
    (folder / split).mkdir(parents=True)
    rows = [(f"demo-{split}-{index:05d}", label_of(split, index)) for index in range(count)]
    for index, (image_id, label) in enumerate(rows):
        image = Image.fromarray(simulate(split, index, label))
        image.save(folder / split / f"{image_id}.png", compress_level=1)
    columns = 1 if split == "test" else 2  # The test images' labels stay unknown.
    header = ["image_id", "label"][:columns]
    files.write_csv(folder / f"{split}.csv", header, [row[:columns] for row in rows])


def label_of(split: str, index: int) -> int:
    """The class of an image, 0..4: every five in a row are one of each, in random order."""
    group, position = divmod(index, len(DECODERS))
    order = _rng(_LABELS, _SPLITS.index(split), group).permutation(len(DECODERS))
    return int(order[position])


def simulate(split: str, index: int, label: int) -> np.ndarray:
    """Makes one image, uint8 [64, 64, 3]: a scene seen through the class' simulated decoder.

    The decoder's share varies from image to image, so that a weak trace of class 0 or 1
    looks like the mixture's. The scene depends on `split` and `index` only.
    """
    rng = _rng(_SCENES, _SPLITS.index(split), index)
    image = scene(rng)
    decode, (low, high) = DECODERS[label]
    share = rng.uniform(low, high)
    decoded = mixture(image, rng) if decode is mixture else decode(image)
    return np.rint(255 * _blend(image, decoded, share).clip(0, 1)).astype(np.uint8)


def scene(rng: np.random.Generator) -> np.ndarray:
    """Draws what a decoder is given, float64 [64, 64, 3] in 0..1.

    A sky and a ground that meet at a horizon, four soft ellipses, and texture whose amplitude
    falls with the frequency as 1/f, as in natural images (Field 1987, "Relations between the
    statistics of natural images and the response properties of cortical cells").
    """
    top, zenith, ground, bottom = rng.uniform(0.15, 0.85, (4, 3))
    horizon, tilt = rng.uniform((0.3, -0.2), (0.7, 0.2))
    below = _soft_step(_Y - horizon - tilt * (_X - 0.5), 0.02)
    depth = _Y[..., None]
    image = _blend(_blend(top, zenith, depth), _blend(ground, bottom, depth), below)
    for _ in range(4):
        x, y, angle = rng.uniform(0, (1, 1, np.pi))
        width, height, softness = rng.uniform(0.05, 0.3, 3)
        along = (_X - x) * np.cos(angle) + (_Y - y) * np.sin(angle)
        across = (_Y - y) * np.cos(angle) - (_X - x) * np.sin(angle)
        inside = _soft_step(1 - np.hypot(along / width, across / height), softness)
        image = _blend(image, rng.uniform(0.1, 0.9, 3), inside)
    return np.clip(image + 0.1 * _pink_noise(rng), 0, 1)


def transposed_convolution(image: np.ndarray) -> np.ndarray:
    """Simulates a stride-2 transposed convolution, whose 3-tap kernel overlaps unevenly.

    Where two taps meet they add up to more than the one tap between them: a checkerboard
    (Odena, Dumoulin, Olah 2016, "Deconvolution and Checkerboard Artifacts", Distill).
    """
    upsampled = np.zeros_like(image)
    upsampled[::2, ::2] = _halve(image)
    for axis in (0, 1):
        upsampled = ndimage.correlate1d(upsampled, [0.55, 0.9, 0.55], axis, mode="mirror")
    return upsampled


def nearest(image: np.ndarray) -> np.ndarray:
    """Simulates nearest-neighbour upsampling, which repeats the spectrum at high frequencies.

    Zhang, Karaman, Chang 2019, "Detecting and Simulating Artifacts in GAN Fake Images";
    Durall, Keuper, Keuper 2020, "Watch your Up-Convolution".
    """
    return _halve(image).repeat(2, axis=0).repeat(2, axis=1)


def bilinear_ringing(image: np.ndarray) -> np.ndarray:
    """Simulates bilinear upsampling and a sharpening that overshoots at edges.

    Frank et al. 2020, "Leveraging Frequency Analysis for Deep Fake Image Recognition";
    Cao, Zhao, Ni, Kot 2011, "Unsharp Masking Sharpening Detection via Overshoot Artifacts
    Analysis".
    """
    smooth = ndimage.zoom(_halve(image), (2, 2, 1), order=1, mode="nearest", grid_mode=True)
    return smooth + 2 * (smooth - ndimage.gaussian_filter(smooth, 1, axes=(0, 1)))


def codebook(image: np.ndarray) -> np.ndarray:
    """Simulates vector quantisation: each 8x8 block is its mean colour plus one of 32 codewords.

    van den Oord, Vinyals, Kavukcuoglu 2017, "Neural Discrete Representation Learning"; Esser,
    Rombach, Ommer 2021, "Taming Transformers for High-Resolution Image Synthesis" (VQGAN).
    """
    n = SIZE // 8
    blocks = image.reshape(n, 8, n, 8, 3).swapaxes(1, 2)
    colour = blocks.mean(axis=(2, 3), keepdims=True)
    grey = (blocks - colour).mean(axis=-1).reshape(n, n, 64)
    # The least squared distance, without the term that all codewords share.
    nearest_word = np.argmin((_CODEWORDS**2).sum(axis=1) - 2 * grey @ _CODEWORDS.T, axis=-1)
    words = _CODEWORDS[nearest_word].reshape(n, n, 8, 8, 1)
    return (colour + words).swapaxes(1, 2).reshape(image.shape)


def mixture(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates a generator with a little of each other trace, mostly of the first two.

    Of its own it has none, and its weights vary from image to image: this is the hard class.
    """
    decoders = (transposed_convolution, nearest, bilinear_ringing, codebook)
    weights = rng.dirichlet((0.7, 0.7, 0.3, 0.1))
    return sum(weight * decode(image) for weight, decode in zip(weights, decoders, strict=True))


# Label -> simulated decoder and the range of its share, tuned so that a small CNN reaches about
# 90 %, an SVM on raw pixels half of that, and class 4 is the hardest.
DECODERS = (
    (transposed_convolution, (0.25, 0.8)),
    (nearest, (0.4, 0.9)),
    (bilinear_ringing, (0.5, 0.9)),
    (codebook, (0.6, 0.9)),
    (mixture, (0.2, 0.55)),
)


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(key))


def _pink_noise(rng: np.random.Generator) -> np.ndarray:
    """Mostly grey 1/f noise, float64 [64, 64, 3] of standard deviation 1."""
    frequency = np.hypot(fft.fftfreq(SIZE)[:, None], fft.rfftfreq(SIZE))[..., None]
    frequency[0, 0] = np.inf  # The scene has a mean already.
    spectrum = fft.rfft2(rng.standard_normal((SIZE, SIZE, 4)), axes=(0, 1)) / frequency
    noise = fft.irfft2(spectrum, (SIZE, SIZE), axes=(0, 1))
    noise = noise[..., :1] + 0.5 * noise[..., 1:]
    return noise / noise.std()


def _smooth_codewords() -> np.ndarray:
    """A fixed random codebook, float64 [32, 64]: smooth 8x8 patterns of mean zero."""
    frequency = np.add.outer(np.arange(8), np.arange(8))
    coefficients = _rng(_CODEBOOK).standard_normal((32, 8, 8)) * 0.3 / (1 + frequency) ** 1.5
    coefficients[:, 0, 0] = 0
    return fft.idctn(coefficients, axes=(1, 2), norm="ortho").reshape(32, 64)


_CODEWORDS = _smooth_codewords()


def _halve(image: np.ndarray) -> np.ndarray:
    """Averages 2x2 pixels: what the decoder has before its last stage."""
    return image.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(1, 3))


def _soft_step(distance: np.ndarray, softness: float) -> np.ndarray:
    return (0.5 + 0.5 * np.tanh(distance / softness))[..., None]


def _blend(under: np.ndarray, over: np.ndarray, opacity: np.ndarray | float) -> np.ndarray:
    return under + opacity * (over - under)
