"""How long the `dfk` command takes to answer."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dfk.benchmarks import pictures
from dfk.benchmarks.contest import Contestant, Measured, contest
from dfk.benchmarks.rows import Row, rounded

_ROUNDS = 3
_DFK = "import sys; from dfk.cli import main; sys.exit(main())"


def rows(full: bool) -> list[Row]:
    """`dfk --help`, and `dfk predict` of one image beside an import of TensorFlow."""
    with tempfile.TemporaryDirectory(prefix="dfk-benchmark-") as scratch:
        folder = Path(scratch)
        model = write_model(folder)
        (image,) = pictures.write(folder, pictures.images(1, 100))
        rounds = _ROUNDS * (3 if full else 1)
        shown = contest(_command("dfk --help", _DFK, "--help"), rounds=rounds)
        predict = _command("dfk predict of one image", _DFK, "predict", str(model), str(image))
        measured = contest(
            predict, [_command("import tensorflow", "import tensorflow")], rounds=rounds
        )
    (imported,) = measured.results
    if imported.ratio is None:
        raise RuntimeError(imported.problem)
    return [
        Row("dfk --help: seconds", rounded(shown.median), 0.3, at_most=True),
        Row("dfk predict, one image: seconds", rounded(measured.median)),
        Row(
            'dfk predict, one image: x python -c "import tensorflow"',
            rounded(1 / imported.ratio),
            1.5,
            at_most=True,
        ),
    ]


def write_model(folder: Path) -> Path:
    """Saves a DeepFakeNet with fresh weights in a folder; returns its file."""
    from dfk import models

    path = folder / "deepfakenet.keras"
    models.DeepFakeNet(input_shape=(None, None, 3), seed=0).save(path)
    return path


def _command(name: str, code: str, *arguments: str) -> Contestant:
    return Contestant(name, process, {"arguments": ["-c", code, *arguments]})


def process(*, arguments: Sequence[str]) -> Measured:
    """A run of Python to its end."""
    line = [sys.executable, *arguments]
    return lambda: subprocess.run(line, check=True, capture_output=True)
