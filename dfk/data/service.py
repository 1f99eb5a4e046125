"""Input from tf.data service: the pipeline runs on workers of other machines."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import tensorflow as tf

from dfk.errors import UsageError

_PROTOCOL = "grpc://"
_PATIENCE_S = 10.0


def check(address: str) -> None:
    """Makes sure that something listens at `address`; the service itself would wait for ever.

    Raises:
        UsageError: if it is not grpc://HOST:PORT, or nothing listens there.
    """
    host = address.removeprefix(_PROTOCOL)
    if host == address or not host.rpartition(":")[2].isdecimal():
        raise UsageError(f"--data_service={address}: it must look like grpc://HOST:PORT")
    import grpc  # Nobody else here needs it.

    with grpc.insecure_channel(host) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_PATIENCE_S)
        except grpc.FutureTimeoutError:
            raise UsageError(
                f"--data_service={address}: no dispatcher of tf.data service answers there"
            ) from None


def distribute(epochs: Iterable[tf.data.Dataset], address: str) -> tf.data.Dataset:
    """Lets the service's workers make the batches of some epochs, one epoch after the other.

    The workers draw the steps of an epoch from a common heap, so each comes once, whoever
    makes it; in which order they arrive is not determined. A worker that dies takes
    the steps with it that it has drawn.

    Args:
        epochs: a dataset for each epoch, which must not depend on this process.
        address: grpc://HOST:PORT of the dispatcher.
    """
    share = tf.data.experimental.service.distribute(
        tf.data.experimental.service.ShardingPolicy.DYNAMIC, address
    )
    # A job for each epoch: none begins before the last batch of the one before has come.
    return functools.reduce(tf.data.Dataset.concatenate, [epoch.apply(share) for epoch in epochs])
