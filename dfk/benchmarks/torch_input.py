"""The study's augmentation and mixing with Pillow and PyTorch; only a contestant imports this."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps


class Augmented(torch.utils.data.Dataset):
    """Image files with the study's augmentation: (pixels float32 [3, H, W], label)."""

    def __init__(self, paths: Sequence[Path], decoded: bool):
        self._paths = paths
        self._images = [Image.open(path).convert("RGB") for path in paths] if decoded else None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if self._images:
            image = self._images[index]
        else:
            image = Image.open(self._paths[index]).convert("RGB")
        pixels = torch.from_numpy(np.array(self._augmented(image))).permute(2, 0, 1).float()
        return pixels, index % 5

    def _augmented(self, image: Image.Image) -> Image.Image:
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        image = image.rotate(random.uniform(-10, 10))
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(random.uniform(0.9, 1.1))
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))


class Degraded(Augmented):
    """Image files through chains of what `degrade=0.8` does, by Pillow."""

    def _augmented(self, image: Image.Image) -> Image.Image:
        for _ in range(random.randint(1, 3) if random.random() < 0.8 else 0):
            image = random.choice(_OPERATIONS)(image)
        return image


def _blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))


def _jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=random.randint(30, 100))
    return Image.open(file).convert("RGB")


def _resize(image: Image.Image) -> Image.Image:
    other = image.resize([round(side * random.uniform(0.5, 1.3)) for side in image.size])
    return other.resize(image.size)


def _noise(image: Image.Image) -> Image.Image:
    drawn = np.random.standard_normal((image.height, image.width, 3)) * random.uniform(1, 11)
    return Image.fromarray((np.asarray(image) + drawn).round().clip(0, 255).astype(np.uint8))


def _tone(image: Image.Image) -> Image.Image:
    enhance = random.choice((ImageEnhance.Brightness, ImageEnhance.Contrast))
    return enhance(image).enhance(random.uniform(0.65, 1.35))


_OPERATIONS = _blur, _jpeg, _resize, _noise, _tone


class Mixed:
    """Stacks a batch and mixes it by CutMix or MixUp, with one-hot labels."""

    def __init__(self, alpha: float, classes: int):
        self._alpha, self._classes = alpha, classes

    def __call__(self, batch: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.stack([image for image, _ in batch])
        labels = torch.eye(self._classes)[[label for _, label in batch]]
        order = torch.randperm(len(images))
        share = random.betavariate(self._alpha, self._alpha)
        if random.random() < 0.5:
            images = share * images + (1 - share) * images[order]
        else:
            height, width = images.shape[2:]
            tall, wide = int(height * (1 - share) ** 0.5), int(width * (1 - share) ** 0.5)
            top, left = random.randint(0, height - tall), random.randint(0, width - wide)
            box = (..., slice(top, top + tall), slice(left, left + wide))
            images[box] = images[order][box]
            share = 1 - tall * wide / (height * width)
        return images, share * labels + (1 - share) * labels[order]
