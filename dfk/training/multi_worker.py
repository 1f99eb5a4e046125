"""Keras' `fit` for several machines: the same callbacks around a loop of `strategy.run`.

Keras 3's own `fit` and `evaluate` fail under MultiWorkerMirroredStrategy (keras-team/keras
issue 20585).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from dfk.training import strategy as strategies

# From (i, n) to what the i-th of n workers trains on.
Training = Callable[[tuple[int, int]], tf.data.Dataset]


def fit(
    network: keras.Model,
    training: Training,
    holdout: tf.data.Dataset,
    *,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    first_epoch: int,
    epochs: int,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains `network`, compiled under `strategy`, as its `fit` would on one machine.

    Gradients are those of the mean over the global batch, and BatchNormalization's statistics
    too (`strategies.synchronize`), so all workers have the same weights after every step.

    Args:
        training: makes this worker's share of each batch: (images [b, H, W, 3], one-hot labels
            [b, C], or with weights [b]).
        holdout: this worker's share of the holdout.
        batch_size: of the global batch.
        first_epoch, epochs: epochs first_epoch..epochs-1, counted from 0.
        steps: of an epoch.
        callbacks: those of `fit`; each worker drives its own, with the same logs.

    Raises:
        LostWorkerError: if another worker is gone.
    """
    step = _train_step(network, strategy, batch_size)
    evaluate = _evaluation(network, strategy)
    share = batch_size // strategy.num_replicas_in_sync
    batches = iter(
        strategy.distribute_datasets_from_function(
            # An element for each of this worker's devices.
            lambda _: training(strategies.workers()).rebatch(share)
        )
    )
    every = keras.callbacks.CallbackList(list(callbacks), model=network, epochs=epochs, steps=steps)
    network.stop_training = False
    with strategies.lost_workers_named():
        every.on_train_begin()
        for epoch in range(first_epoch, epochs):
            every.on_epoch_begin(epoch)
            logs = _epoch(step, batches, steps, every)
            every.on_test_begin()
            logs |= evaluate(holdout)
            every.on_test_end(logs)
            every.on_epoch_end(epoch, logs)
            if network.stop_training:
                break
        every.on_train_end()


def _epoch(step, batches, steps: int, every: keras.callbacks.CallbackList) -> dict[str, float]:
    """Trains an epoch; returns the means of loss and accuracy."""
    sums = tf.zeros(2)
    for number in range(steps):
        every.on_train_batch_begin(number)
        sums += step(next(batches))
        loss, accuracy = (sums / (number + 1)).numpy()
        logs = {"loss": float(loss), "accuracy": float(accuracy)}
        every.on_train_batch_end(number, logs)
    return logs


def _train_step(network: keras.Model, strategy: tf.distribute.Strategy, batch_size: int):
    """From a distributed batch to loss and accuracy, float32 [2], of the global one."""

    def on_device(images, labels, weights=None):
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            losses = network.loss.call(labels, logits)
            losses = losses if weights is None else losses * weights
            loss = tf.reduce_sum(losses) / batch_size
        variables = network.trainable_weights
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        # It sums them over all devices.
        network.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return tf.stack([loss, _right(labels, logits) / batch_size])

    @tf.function
    def step(batch):
        shares = strategy.run(on_device, args=batch)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, shares, axis=None)

    return step


def _evaluation(network: keras.Model, strategy: tf.distribute.Strategy):
    """From this worker's share of the holdout to loss and accuracy on all of it."""

    @tf.function(reduce_retracing=True)
    def sums_of(images, labels):
        logits = network(images, training=False)
        losses = tf.reduce_sum(network.loss.call(labels, logits))
        return tf.stack([losses, _right(labels, logits), tf.cast(len(labels), tf.float32)])

    @tf.function
    def over_all(sums):
        return strategy.reduce(
            tf.distribute.ReduceOp.SUM, strategy.run(lambda: tf.identity(sums)), axis=None
        )

    def evaluate(holdout: tf.data.Dataset) -> dict[str, float]:
        sums = tf.add_n([sums_of(*batch) for batch in holdout])
        # Each device of a worker hands in what the worker has.
        devices = strategy.num_replicas_in_sync // strategies.workers()[1]
        loss, right, count = over_all(sums / devices).numpy()
        return {"val_loss": float(loss / count), "val_accuracy": float(right / count)}

    return evaluate


def _right(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """How many logits [N, C] are largest where the one-hot labels are."""
    hits = tf.equal(tf.argmax(labels, axis=1), tf.argmax(logits, axis=1))
    return tf.reduce_sum(tf.cast(hits, tf.float32))
