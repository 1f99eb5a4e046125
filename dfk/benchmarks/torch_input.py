"""The study's augmentation and mixing with Pillow and PyTorch; only a contestant imports this."""

from __future__ import annotations

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
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        image = image.rotate(random.uniform(-10, 10))
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(random.uniform(0.9, 1.1))
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        return pixels, index % 5


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
