"""Training steps beside stock Keras' and PyTorch's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from dfk.benchmarks import machine
from dfk.benchmarks.contest import Contest, Contestant, Measured, Result, contest
from dfk.benchmarks.rows import Row, ratio, rounded
from dfk.system import hardware

_BATCH = 64
_LEARNING_RATE = 1e-4


class Race(NamedTuple):
    """A network, the side of its images, and what dfk must be against each kind of alternative."""

    network: str
    title: str
    side: int
    stock: dict[str, float]
    torch: float
    rounds: int


# DeepFakeNet was 2.34 to 2.53 times as fast as stock Keras in float32, by the machine and the hour.
_RACES = (
    Race("deepfakenet", "DeepFakeNet", 100, {"float32": 2.3, "mixed_bfloat16": 1.8}, 1.5, 5),
    Race("deepfakenet", "DeepFakeNet", 128, {"float32": 2.3, "mixed_bfloat16": 1.8}, 1.5, 3),
    Race("vgg16", "VGG16", 100, {"float32": 1.3, "mixed_bfloat16": 1.3}, 1.0, 3),
)


def rows(full: bool) -> list[Row]:
    """Each network's step, in `full` beside all of PyTorch's variants.

    Else those in dfk's own precision meet the first network, and the fastest two the others.
    """
    precision = hardware.resolve_precision("auto")
    figures, variants = [], _torch_variants()
    if not full:  # The other precision has always been the slower one.
        variants = [v for v in variants if v[1]["bfloat16"] == (precision != "float32")]
    for race in _RACES:
        common = {"network": race.network, "side": race.side, "batch": _BATCH}
        ours = Contestant("dfk", keras_step, common | {"precision": precision, "stock": False})
        stock = [
            Contestant(
                f"stock Keras {dtype}", keras_step, common | {"precision": dtype, "stock": True}
            )
            for dtype in race.stock
        ]
        torch = [
            Contestant(name, torch_step, common | options, ["torch"]) for name, options in variants
        ]
        measured = contest(
            ours._replace(name=f"dfk {precision}, {race.title} at {race.side}"),
            [*stock, *torch],
            rounds=race.rounds,
        )
        figures += _rows(race, precision, measured)
        if not full:
            variants = _fastest(variants, measured.results, 2)
    return figures


def _rows(race: Race, precision: str, measured: Contest) -> list[Row]:
    what = f"training step, {race.title} at {race.side}"
    stock = measured.results[: len(race.stock)]
    torch = measured.results[len(race.stock) :]
    speed = _BATCH / measured.median
    flops = machine.training_flops(race.network, race.side)
    return [
        Row(f"{what}: images/s", rounded(speed)),
        Row(
            f"{what}: share of the {precision} matrix rate",
            rounded(speed * flops / machine.rate(precision)),
        ),
        *(
            ratio(f"{what}: x {result.name}", [result], required)
            for result, required in zip(stock, race.stock.values(), strict=True)
        ),
        ratio(f"{what}: x the best PyTorch", torch, race.torch, "the best is "),
    ]


def _torch_variants() -> list[tuple[str, dict[str, bool]]]:
    """PyTorch's ways to train on a CPU, the likely fastest first."""
    variants = []
    for bfloat16, channels_last, compiled in itertools.product((True, False), repeat=3):
        name = (
            f"PyTorch {'compiled' if compiled else 'eager'}, "
            f"{'bfloat16 autocast' if bfloat16 else 'float32'}, "
            f"channels {'last' if channels_last else 'first'}"
        )
        options = {"bfloat16": bfloat16, "channels_last": channels_last, "compiled": compiled}
        variants.append((name, options))
    return variants


def _fastest(variants: list, results: Sequence[Result], count: int) -> list:
    """The variants with the least seconds; all that failed are left out, unless all did."""
    ratios = {result.name: result.ratio for result in results if result.ratio is not None}
    ran = [variant for variant in variants if variant[0] in ratios]
    return sorted(ran, key=lambda variant: ratios[variant[0]])[:count] or variants[:count]


def keras_step(*, network: str, side: int, batch: int, precision: str, stock: bool) -> Measured:
    """A step of Keras' `train_on_batch`, dfk's network or the stock one."""
    import keras
    import tensorflow as tf

    from dfk import models
    from dfk.benchmarks import stock as plain

    keras.utils.set_random_seed(0)
    if stock:
        model = getattr(plain, network)(precision)
    else:
        shape = (None, None, 3)
        model = models.network_of(models.BUILDERS[network](input_shape=shape, dtype=precision))
    model.compile(
        optimizer=keras.optimizers.Adam(_LEARNING_RATE),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    images = tf.random.uniform([batch, side, side, 3], maxval=255)
    labels = tf.one_hot(tf.range(batch) % 5, 5)
    return lambda: model.train_on_batch(images, labels)


def torch_step(
    *, network: str, side: int, batch: int, bfloat16: bool, channels_last: bool, compiled: bool
) -> Measured:
    """The same step in PyTorch."""
    import torch

    from dfk.benchmarks import torch_networks

    torch.manual_seed(0)
    torch.set_num_threads(hardware.cores())
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = getattr(torch_networks, network)().to(memory_format=layout).train()
    optimizer = torch.optim.Adam(model.parameters(), _LEARNING_RATE)
    images = (torch.rand(batch, 3, side, side) * 255).to(memory_format=layout)
    labels = torch.arange(batch) % 5
    forward = torch.compile(model) if compiled else model

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = forward(images)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
