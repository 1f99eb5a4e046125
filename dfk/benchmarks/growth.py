"""Whether time grows no faster than the data, and memory not at all."""

from __future__ import annotations

import collections
import itertools
import tempfile
from pathlib import Path

from dfk.benchmarks import pictures
from dfk.benchmarks.command import write_model
from dfk.benchmarks.contest import Contestant, Measured, once
from dfk.benchmarks.rows import Row, rounded

# What ten times the data may take, and MiB that memory may grow by after warm-up. A catalog calls
# exactly ten times as many functions; but as its names outgrow the CPU's caches each takes longer:
# 11.3 to 12.6 times as long, by the machine. What grows with the square takes 100 times as long.
_TEN_TIMES, _GROWTH_MIB = 15, 64
_WARM_UP = 500
# What is measured, and with --full the last, too.
_ROWS, _FILES = (10_000, 100_000, 1_000_000), (1000, 10_000, 100_000)


def rows(full: bool) -> list[Row]:
    """Catalogs and predictions, each on ten times as much as the one before."""
    with tempfile.TemporaryDirectory(prefix="dfk-benchmark-") as scratch:
        folder = Path(scratch)
        pixels = pictures.images(100, 64)
        return [*_catalogs(folder, pixels[:20], full), *_predictions(folder, pixels, full)]


def _catalogs(folder: Path, pixels: list, full: bool) -> list[Row]:
    seconds, figures = {}, []
    for count in _ROWS[: 3 if full else 2]:
        data_dir = folder / f"catalog{count}"
        names = [path.stem for path in pictures.write(data_dir / "train", pixels, count)]
        lines = [f"{name},{index % 5}" for index, name in enumerate(names)]
        (data_dir / "train.csv").write_text("\n".join(["image_id,label", *lines]) + "\n")
        contestant = Contestant(f"catalog of {count:,} rows", catalog, {"data_dir": str(data_dir)})
        seconds[count], _ = once(contestant)
        figures.append(Row(f"catalog of {count:,} rows: seconds", rounded(seconds[count])))
    return figures + _linear("catalog", seconds)


def _predictions(folder: Path, pixels: list, full: bool) -> list[Row]:
    model, seconds, figures = write_model(folder), {}, []
    counts = _FILES[: 3 if full else 2]
    files = pictures.write(folder / "files", pixels, counts[-1])
    for count in counts:
        arguments = {"model": str(model), "folder": str(files[0].parent), "count": count}
        seconds[count], grown = once(Contestant(f"predict {count:,} files", predict, arguments))
        figures.append(Row(f"predict {count:,} files: images/s", rounded(count / seconds[count])))
    memory = f"predict {count:,} files: memory growth after {_WARM_UP}, MiB"
    return [*figures, *_linear("predict", seconds), Row(memory, rounded(grown), _GROWTH_MIB, True)]


def _linear(what: str, seconds: dict[int, float]) -> list[Row]:
    return [
        Row(
            f"{what}: time of {more:,} over {less:,}",
            rounded(seconds[more] / seconds[less]),
            _TEN_TIMES,
            True,
        )
        for less, more in itertools.pairwise(seconds)
    ]


def catalog(*, data_dir: str) -> Measured:
    """Reads a catalog and sets the holdout aside."""
    from dfk.data import catalog, splits

    return lambda: splits.set_aside(catalog.read(data_dir))


def predict(*, model: str, folder: str, count: int) -> Measured:
    """Scores the first files of a folder; the run's value is the MiB that memory grew by."""
    import dfk

    classifier = dfk.load(model)
    paths = sorted(Path(folder).iterdir())
    classifier.predict(paths[:64])

    def run() -> float:
        stream = classifier.predict_stream(itertools.islice(paths, count))
        collections.deque(itertools.islice(stream, _WARM_UP), maxlen=0)
        before = _resident_mib()
        collections.deque(stream, maxlen=0)
        return _resident_mib() - before

    return run


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
