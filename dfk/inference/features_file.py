"""A file of what a model saw in images, for whoever goes on with it: `.npz` or Parquet.

A row per image, in their order: `features` float32 [N, D], and `path`, `label`, `confidence`,
`probabilities` [N, C] and `error` as of a `Prediction`; `class_names` beside them. Features of an
image without an answer are NaN, in Parquet null. The file appears whole or not at all, and no more
than the texts and probabilities of all images are held in memory, of Parquet none.
"""

from __future__ import annotations

import contextlib
import importlib.util
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfk.errors import UsageError
from dfk.inference.classifier import Classifier, Prediction
from dfk.system.files import draft

SUFFIXES = (".npz", ".parquet")


def check(path: Path) -> None:
    """Refuses a name that no such file can have, before any image is scored.

    Raises:
        UsageError: for another suffix, a file that is there already, or Parquet without pyarrow.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--features={path}: it is a .npz or .parquet file")
    if path.exists():
        raise UsageError(f"--features={path}: the file is there; delete it, or choose another")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError(
            f"--features={path}: Parquet needs pyarrow, pip install pyarrow; .npz needs nothing"
        )


@contextlib.contextmanager
def written(path: Path, classifier: Classifier) -> Iterator[_Npz | _Parquet]:
    """What takes the predictions of a classifier `with_features`; in the end the file is there.

    Raises:
        OSError: if the folder cannot be written.
    """
    kind = _Parquet if path.suffix == ".parquet" else _Npz
    with draft(path) as file, kind(file, classifier) as rows:
        yield rows
        rows.finish()


class _Npz(contextlib.ExitStack):
    def __init__(self, path: Path, classifier: Classifier):
        super().__init__()
        self._path, self._classifier = path, classifier
        self._texts: dict[str, list[str]] = {"path": [], "label": [], "error": []}
        self._probabilities: list[np.ndarray] = []
        self._none = np.full(classifier.feature_count, np.nan, np.float32)
        # How many rows there will be is told before them: until that is known, they lie aside.
        self._aside = path.with_name("features")
        self._features = self.enter_context(self._aside.open("w+b"))

    def add(self, names: Sequence[str], predictions: Sequence[Prediction]) -> None:
        """Takes a row for each; names may be those of further images, too."""
        for name, x in zip(names, predictions, strict=False):
            for column, text in zip(self._texts.values(), (name, x.label, x.error), strict=True):
                column.append(_text(text))
            self._probabilities.append(x.probabilities)
            features = self._none if x.features is None else x.features
            self._features.write(features.astype("<f4").tobytes())

    def finish(self) -> None:
        """Writes the file."""
        classes = len(self._classifier.class_names)
        probabilities = np.array(self._probabilities, "<f4").reshape(-1, classes)
        arrays = {name: np.array(column, np.str_) for name, column in self._texts.items()}
        arrays["confidence"] = probabilities.max(axis=1, initial=0)
        arrays |= {"probabilities": probabilities}
        arrays["class_names"] = np.array(list(map(_text, self._classifier.class_names)))
        with zipfile.ZipFile(self._path, "w", allowZip64=True) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
            with archive.open("features.npy", "w", force_zip64=True) as entry:
                shape = (len(probabilities), self._classifier.feature_count)
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(entry, header)
                self._features.seek(0)
                while chunk := self._features.read(2**20):
                    entry.write(chunk)
        self._features.close()
        self._aside.unlink()


class _Parquet(contextlib.ExitStack):
    def __init__(self, path: Path, classifier: Classifier):
        import pyarrow as pa
        from pyarrow import parquet

        super().__init__()
        count, self._names = classifier.feature_count, list(map(_text, classifier.class_names))
        self._schema = pa.schema(
            [
                ("path", pa.string()),
                ("label", pa.string()),
                ("confidence", pa.float32()),
                ("error", pa.string()),
                ("probabilities", pa.list_(pa.float32(), len(self._names))),
                ("features", pa.list_(pa.float32(), count)),
            ],
            metadata={"class_names": "\n".join(self._names)},
        )
        self._file = self.enter_context(parquet.ParquetWriter(path, self._schema))

    def add(self, names: Sequence[str], predictions: Sequence[Prediction]) -> None:
        """Takes a row for each; names may be those of further images, too."""
        import pyarrow as pa

        rows = [_row(*pair) for pair in zip(names, predictions, strict=False)]
        self._file.write_table(pa.Table.from_pylist(rows, self._schema))

    def finish(self) -> None:
        """Nothing more: the file ends as it is closed."""


def _row(name: str, x: Prediction) -> dict[str, Any]:
    return {
        "path": _text(name),
        "label": _text(x.label),
        "confidence": x.confidence,
        "error": _text(x.error),
        "probabilities": x.probabilities,
        "features": x.features,
    }


def _text(text: str) -> str:
    """Text that is UTF-8: of the names of files that are not, the bytes are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
