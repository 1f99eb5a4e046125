"""Small experiments: the flags that keep a training short, and how one is cut off."""

from pathlib import Path

from dfk import config, runs
from dfk.config import Config

# What ends within seconds on images of 16 x 16 pixels.
SHORT = ("--image_size=16", "--epochs=1", "--batch_size=16", "--precision=float32")
# They have none of these.
_FITTED_AT_ONCE = {"--model=svm", "--model=svm_forensic", "--model=ensemble"}


def settings(data_dir, output_dir, *flags: str) -> Config:
    """A short experiment; `flags` win."""
    short = () if _FITTED_AT_ONCE & set(flags) else SHORT
    return config.parse([f"--data_dir={data_dir}", f"--output_dir={output_dir}", *short, *flags])[0]


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
