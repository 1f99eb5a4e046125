"""Small experiments: the flags that keep a training short, and how one is cut off."""

from pathlib import Path

import keras

from dfk import config, models, runs, training
from dfk.config import Config
from dfk.training import phases

# What ends within seconds on images of 16 x 16 pixels.
SHORT = ("--image_size=16", "--epochs=1", "--batch_size=16", "--precision=float32")
# What the session's finished run has beside these
FINISHED = ("--epochs=3", "--ema=0.9", "--schedule=cosine", "--learning_rate=0.02")
# They have none of these.
_FITTED_AT_ONCE = {f"--model={x}" for x in ("svm", "svm_forensic", "fisher", "ensemble", "added")}


def short(data_dir, output_dir, *flags: str) -> Config:
    """A short experiment; `flags` win."""
    short = () if _FITTED_AT_ONCE & set(flags) else SHORT
    return config.parse([f"--data_dir={data_dir}", f"--output_dir={output_dir}", *short, *flags])[0]


def fit(settings: Config) -> keras.Model:
    """Trains a network as a run does; what is left out is its deployment and its report."""
    data = training.load_data(settings)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(settings.run.seed)
    model = models.build(settings, data.class_names, precision="float32", pretrained=True)
    phases.fit_phases(settings, data, model)
    return model


def history(run_dir: Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`."""
    header, *rows = (run_dir / runs.HISTORY).read_text().splitlines()
    return [dict(zip(header.split(","), map(float, row.split(",")), strict=True)) for row in rows]


def interrupt(at: int):
    """An `on_epoch_begin` that is Ctrl-C as an epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == at:
            raise KeyboardInterrupt

    return on_epoch_begin
