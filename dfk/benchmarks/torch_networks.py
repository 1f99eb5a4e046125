"""DeepFakeNet and VGG16 in PyTorch, to be measured against; only a contestant imports this."""

from __future__ import annotations

import torch
from torch import nn

CLASSES = 5


def deepfakenet() -> nn.Module:
    """`dfk.models.DeepFakeNet`'s network: images [N, 3, H, W] in 0..255 to logits [N, C]."""
    layers: list[nn.Module] = [_Affine([1 / 255] * 3, [0.0] * 3)]
    channels = 3
    for filters, rate in ((32, 0.25), (64, 0.3), (128, 0.4)):
        layers += [*_convolution(channels, filters), *_convolution(filters, filters)]
        layers += [nn.MaxPool2d(2), nn.Dropout(rate)]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES))


def vgg16() -> nn.Module:
    """The network of `dfk.models.VGG16` with batch norm; images blue first, as above else."""
    layers: list[nn.Module] = [_Affine([1.0] * 3, [-103.939, -116.779, -123.68])]
    channels = 3
    for filters, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            layers += _convolution(channels, filters)
            channels = filters
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(512, 256), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(256, CLASSES)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head)


class _Affine(nn.Module):
    """Scales and shifts each channel."""

    def __init__(self, scale: list[float], shift: list[float]):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale)[:, None, None])
        self.register_buffer("shift", torch.tensor(shift)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.scale + self.shift


def _convolution(channels: int, filters: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters, eps=1e-3),
        nn.ReLU(inplace=True),
    ]
