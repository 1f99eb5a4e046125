"""dfk's networks in PyTorch, to be measured against; only a contestant imports this."""

from __future__ import annotations

from collections.abc import Sequence

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


def residual(
    filters: Sequence[int] = (32, 64, 128, 256), high_pass: bool = False, dropout: float = 0.2
) -> nn.Module:
    """`dfk.models.ResidualNet`'s network; in and out as of `deepfakenet`."""
    layers: list[nn.Module] = [_Views(high_pass)]
    layers += _convolution(15 if high_pass else 3, filters[0])
    channels = filters[0]
    for width in filters:
        layers += [nn.AvgPool2d(2)] if len(layers) > 4 else []
        layers.append(_Block(channels, width))
        channels = width
    head = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(channels, CLASSES),
    ]
    return nn.Sequential(*layers, *head)


class _Views(nn.Module):
    """Colours in -1..1 and, with `high_pass`, the answers of `dfk.layers.HighPass` behind them."""

    def __init__(self, high_pass: bool):
        super().__init__()
        self._scale = _Affine([2 / 255] * 3, [-1.0] * 3)
        self._high_pass = high_pass
        if high_pass:
            from dfk.layers.high_pass import FILTERS, KNEE

            kernel = torch.tensor(FILTERS, dtype=torch.float32).permute(2, 0, 1)[:, None] / KNEE
            self.register_buffer("kernel", kernel.repeat(3, 1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        views = self._scale(images)
        if not self._high_pass:
            return views
        edged = nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
        with torch.autocast(images.device.type, enabled=False):  # As dfk: traces are faint.
            noise = nn.functional.conv2d(edged, self.kernel, groups=3)
        return torch.cat([views, nn.functional.softsign(noise)], 1)


class _Block(nn.Module):
    """Two convolutions beside what they are given, or a convolution of it to as many channels."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        *last, _ = _convolution(width, width)
        self._body = nn.Sequential(*_convolution(channels, width), *last)
        nn.init.zeros_(last[-1].weight)
        self._shortcut = nn.Identity()
        if channels != width:
            self._shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width, eps=1e-3)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self._body(x) + self._shortcut(x))


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
