"""Augmented batches in PyTorch, from images on the GPU and from a loader; only PyTorch's side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dfk.benchmarks.gpu.plan import CLASSES
from dfk.config.augmentation import parse
from dfk.system import hardware

BFLOAT16 = torch.bfloat16
_WORKERS = 16


class Batches:
    """Batches of images float32 [B, 3, H, W] in channels last, labels [B, C], weights [B] or None.

    Args:
        images: uint8 [N, S, S, 3], with labels in turn.
        config: of the experiment: crop, augmentation, mixing, weights.
        device: cuda or cpu.
    """

    def __init__(self, images: np.ndarray, config: Any, device: str):
        from dfk.config import weight_per_class

        self._config, self._device = config, device
        self._images, self._labels = images, np.arange(len(images)) % CLASSES
        self._size, self._crop = config.keras.batch_size, config.input.train_crop
        self._steps = parse(config.input.augment)
        weights = weight_per_class(config, list(map(str, range(CLASSES))))
        self._weights = None if weights is None else torch.tensor(weights, device=device)
        self._held = torch.from_numpy(images).to(device), torch.from_numpy(self._labels).to(device)
        self._loader = None

    def fixed(self) -> tuple:
        """A batch that stays the same: for steps alone."""
        return next(iter(self.resident()))

    def resident(self) -> Iterator[tuple]:
        """An epoch of the images that lie on the device."""
        images, labels = self._held
        order = torch.randperm(len(images), device=self._device)
        window = torch.arange(self._crop, device=self._device)
        room = images.shape[1] - self._crop + 1
        for chosen in order.split(self._size)[: len(images) // self._size]:
            top, left = torch.randint(room, (2, len(chosen), 1), device=self._device)
            rows, columns = (top + window)[:, :, None], (left + window)[:, None]
            yield self._made(images[chosen[:, None, None], rows, columns], labels[chosen])

    def loader(self) -> Iterator[tuple]:
        """An epoch of a DataLoader whose workers crop; the device does what costs more."""
        if self._loader is None:
            from torch.utils.data import BatchSampler, DataLoader, RandomSampler

            dataset = _Crops(self._images, self._labels, self._crop)
            workers = min(hardware.cores(), _WORKERS)
            self._loader = DataLoader(
                dataset,
                sampler=BatchSampler(RandomSampler(dataset), self._size, drop_last=True),
                batch_size=None,
                num_workers=workers,
                pin_memory=self._device == "cuda",
                persistent_workers=True,
                prefetch_factor=4,
            )
        for images, labels in self._loader:
            yield self._made(*(x.to(self._device, non_blocking=True) for x in (images, labels)))

    def _made(self, images: torch.Tensor, labels: torch.Tensor) -> tuple:
        """Augments and mixes uint8 [B, H, W, 3]."""
        images = images.permute(0, 3, 1, 2).float()  # Channels last as they lie
        for name, strength in self._steps:
            images = _AUGMENTATIONS[name](images, strength)
        labels = torch.nn.functional.one_hot(labels, CLASSES).float()
        alphas = self._config.input.mixup_alpha, self._config.input.cutmix_alpha
        if any(alphas):
            is_cutmix = not alphas[0] or (alphas[1] and np.random.random() < 0.5)
            images, labels = (_cutmix if is_cutmix else _mixup)(images, labels, alphas[is_cutmix])
        return images, labels, None if self._weights is None else labels @ self._weights


class _Crops(torch.utils.data.Dataset):
    """Whole batches of crops, uint8 [B, H, W, 3], by their indices."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, crop: int):
        self._images, self._labels, self._crop = images, labels, crop

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        size = self._crop
        places = np.random.randint(0, self._images.shape[1] - size + 1, (len(indices), 2))
        cut = np.empty((len(indices), size, size, 3), np.uint8)
        for one, index, (top, left) in zip(cut, indices, places, strict=True):
            one[:] = self._images[index, top : top + size, left : left + size]
        return torch.from_numpy(cut), torch.from_numpy(self._labels[indices])


def _flip(images: torch.Tensor, probability: float) -> torch.Tensor:
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < probability
    return torch.where(chosen, images.flip(3), images)


def _rotate(images: torch.Tensor, degrees: float) -> torch.Tensor:
    angle = torch.empty(len(images), device=images.device).uniform_(-degrees, degrees)
    cos, sin = torch.cos(angle * math.pi / 180), torch.sin(angle * math.pi / 180)
    zero = torch.zeros_like(cos)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(turn, list(images.shape), align_corners=False)
    turned = torch.nn.functional.grid_sample(
        images, grid, mode="nearest", padding_mode="reflection", align_corners=False
    )
    return turned.contiguous(memory_format=torch.channels_last)


def _jitter(images: torch.Tensor, strength: float) -> torch.Tensor:
    shape = 3, len(images), 1, 1, 1
    drawn = torch.empty(shape, device=images.device).uniform_(1 - strength, 1 + strength)
    brightness, contrast, saturation = drawn
    luma = torch.tensor([0.299, 0.587, 0.114], device=images.device)[:, None, None]
    grey = (images * luma).sum(1, keepdim=True)
    images = saturation * images + (1 - saturation) * grey
    mean = grey.mean((2, 3), keepdim=True)
    return (brightness * (contrast * images + (1 - contrast) * mean)).clamp(0, 255)


_AUGMENTATIONS = {"flip": _flip, "rotate": _rotate, "jitter": _jitter}


def _beta(alpha: float, count: int, device: torch.device) -> torch.Tensor:
    one = torch.tensor(alpha, device=device)
    return torch.distributions.Beta(one, one).sample((count,))


def _mixup(images: torch.Tensor, labels: torch.Tensor, alpha: float) -> tuple:
    share = _beta(alpha, len(images), images.device)
    order = torch.randperm(len(images), device=images.device)
    part = share[:, None, None, None]
    return part * images + (1 - part) * images[order], _blended(labels, share, order)


def _cutmix(images: torch.Tensor, labels: torch.Tensor, alpha: float) -> tuple:
    count, _, height, width = images.shape
    order = torch.randperm(count, device=images.device)
    side = (1 - _beta(alpha, count, images.device)).sqrt()[:, None]
    x, y = torch.rand(2, count, 1, device=images.device)
    across, down = (torch.arange(n, device=images.device) + 0.5 for n in (width, height))
    columns = (across - x * width).abs() < side * width / 2
    rows = (down - y * height).abs() < side * height / 2
    inside = rows[:, :, None] & columns[:, None]
    share = 1 - inside.float().mean((1, 2))
    return torch.where(inside[:, None], images[order], images), _blended(labels, share, order)


def _blended(labels: torch.Tensor, share: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    share = share[:, None]
    return share * labels + (1 - share) * labels[order]
