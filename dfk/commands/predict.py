"""Tells which of a model's generators made each image.

A closed-set model gives EVERY image one of the generators it knows: a real photograph too, and
an image of a generator that it never saw. --min_confidence answers `unknown` below a confidence.
--unknown does so where the logits stand out less than a threshold that the model carries: chosen in
training so that it calls only 5 % of the images of its own generators unknown (--false_alarm_rate).
Both help, but neither is a detector of real photographs.

--coverage=0.95 adds a set of classes to each image: of each class, at least 95 % of the images get
a set that holds it, as long as they are like those that the model was made on. A hard image gets
several classes, one like no class none. In CSV the column `set` has | between them.

--recheck scores each image again as it may be delivered: saved as JPEG of quality 90 and 75,
resized to 0.8 and back, cropped by a pixel. `unsure` is the answer where the label does not last:
where it is less likely than not, in the geometric mean over these and the image itself (the column
`recheck`). It takes five times as long.

MODEL is a run's folder, a .keras or .skops file, or a SavedModel's folder. Images are files,
folders (searched to the bottom for image suffixes in any case, and for files that start as images
do; what else lies there is counted by kind at the end), CSVs with a column `path` (within the CSV's
folder) or `image_id` (NAME/<image_id>.png beside NAME.csv), or -, which reads an image or a list of
paths from stdin.

The column `doubt` says what of an image is unlike all that the model was trained on (size, format),
where the logits stand out too little (unknown) or no class is likely (empty set), and which
delivery got another class. It changes no label.

--claims adds a column of what each file declares of itself: the maker, source type and signature of
its C2PA manifest, XMP and EXIF, and the texts of generators. What stands in quotation marks is the
file's. Claims can be forged or stripped: they change no label and no probability, and where there
is none that says nothing. Nothing is fetched. C2PA needs pip install 'dfk-keras[claims]'.

Every image gets one row. Of one that cannot be read the row says why, and the exit code is 1.
--output is continued where an earlier call, even one that was killed, had got to.

--features=FILE.npz (or .parquet, with pyarrow) writes what the logits are made of, too: arrays
`features` [N, D], `path`, `label`, `confidence`, `probabilities`, `error` and `class_names`, a row
for each image; numpy.load reads it. The file is there once all images are scored. An SVM and a
SavedModel have no features.

--engine=ray (pip install 'dfk-keras[ray]') is for millions of images: Ray Data scores them on all
cores, GPUs or machines, with a model in each of --actors processes. --output_dir is a folder of
parts, Parquet or CSV, with the same rows; images may also come in Parquet files with columns
`path` and `bytes`.

Examples:
  dfk predict runs/ensemble photos/
  dfk predict runs/ensemble photos/ --unknown --coverage=0.95
  dfk predict runs/ensemble photos/ --claims
  dfk predict runs/ensemble photos/ --recheck
  dfk predict runs/ensemble photos/ list.csv --output=out.csv --min_confidence=0.9
  dfk predict runs/ensemble photos/ --output=out.csv --features=features.npz
  dfk predict runs/ensemble photos/ --engine=ray --output_dir=answers
  find photos -name '*.png' -print0 | dfk predict runs/ensemble - --format=json
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dfk.commands.parser import MODEL_HELP, Parser, model, positive, share
from dfk.commands.summary import summary
from dfk.errors import DfkError, UsageError
from dfk.system.messages import keep_stderr, prepare_logging
from dfk.text import printable, shown

# As `dfk.evaluation.conformal` has them, which would have --help wait for NumPy.
_COVERAGES = (0.9, 0.95, 0.99)


def main(arguments: list[str]) -> int:
    """Scores images; returns 1 if some cannot be read, else 0."""
    options = _parse(arguments)
    keep_stderr()
    prepare_logging()
    if options.engine == "ray":
        return _score_on_ray(options)
    from dfk import inference
    from dfk.data.entries import SUFFIXES
    from dfk.inference import continued_file, features_file, formats
    from dfk.inference.answers import answers_of

    if options.output and options.output.suffix.lower() in SUFFIXES:
        raise UsageError(
            f"{options.output} would be called as an image is; choose another --output"
        )
    classifier = inference.load(options.model)
    if options.features:
        features_file.check(options.features)
        classifier = classifier.with_features()
    # Before any image is opened
    answers = answers_of(classifier, **_asked(options))
    form = formats.FORMATS[options.format](answers)
    predict = functools.partial(
        classifier.predict_batches, batch_size=options.batch_size, **answers.labelling
    )
    saved = contextlib.nullcontext()
    if options.features:
        saved = features_file.written(options.features, classifier)
    if not options.output:
        with saved as features:
            sys.stdout.write(form.header)
            sys.stdout.flush()
            return _score(predict, form, options, _to_stdout, features=features)
    with continued_file.continued(options.output, form) as file:
        continued_file.check_model(classifier, answers, file.rows())
        if options.features and file.count:
            raise UsageError(
                f"{options.output} has {file.count:,} rows, whose images are not looked at again: "
                "with --features choose another --output"
            )
        file.begin()
        try:
            with saved as features:
                return _score(predict, form, options, file.write, file, features)
        except KeyboardInterrupt as interrupt:
            message = f"interrupted; the same command continues {options.output}"
            raise KeyboardInterrupt(message) from interrupt


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("predict", __doc__)
    parser.add_argument("model", metavar="MODEL", type=model, help=MODEL_HELP)
    parser.add_argument("images", metavar="IMAGE|DIR|CSV|-", nargs="+", help="what to score")
    parser.add_argument(
        "--format",
        choices=["table", "csv", "json", "parquet"],
        help="json: an object per line (default: by the suffix of --output; a table on a "
        "terminal, else csv; with ray parquet)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--output", metavar="FILE", type=Path, help=".csv or .json; it is continued if it is there"
    )
    where.add_argument(
        "--output_dir", metavar="DIR", type=Path, help="with ray: the folder of parts"
    )
    parser.add_argument(
        "--features", metavar="FILE", type=Path, help="npz or parquet: what the logits are made of"
    )
    unknown = parser.add_mutually_exclusive_group()
    unknown.add_argument(
        "--min_confidence",
        metavar="P",
        type=share,
        default=0.0,
        help="below it, the label is `unknown`",
    )
    unknown.add_argument(
        "--unknown", action="store_true", help="the same by the threshold that the model carries"
    )
    parser.add_argument(
        "--coverage", type=float, choices=_COVERAGES, help="add a set that holds the class so often"
    )
    parser.add_argument("--claims", action="store_true", help="add what each file declares")
    parser.add_argument(
        "--recheck", action="store_true", help="`unsure` where saving or resizing changes the label"
    )
    parser.add_argument(
        "--batch_size", metavar="N", type=positive, default=32, help="images a call, if alike"
    )
    parser.add_argument(
        "--engine", choices=["local", "ray"], default="local", help="ray: on many cores or machines"
    )
    parser.add_argument(
        "--actors",
        metavar="N",
        type=positive,
        help="with ray: models at work (default: one per GPU or 2 CPUs)",
    )
    options = parser.parse_args(arguments)
    if options.engine == "ray":
        return _check_ray(options)
    if options.actors or options.format == "parquet" or options.output_dir:
        raise UsageError("--actors, --output_dir and --format=parquet go with --engine=ray")
    if options.output and options.format == "table":
        raise UsageError("--output takes --format=csv or json; a table is for the terminal")
    if options.output and any(_is_same(options.output, given) for given in options.images):
        raise UsageError(
            f"{options.output} is to be read and to be written; choose another --output"
        )
    options.format = _format(options)
    return options


def _format(options: argparse.Namespace) -> str:
    """The format that is given, or that the suffix of --output names.

    Raises:
        UsageError: if these are two.
    """
    if not options.output:
        return options.format or ("table" if sys.stdout.isatty() else "csv")
    suffix = options.output.suffix.lower()
    if suffix == ".parquet":
        raise UsageError(f"--output={options.output}: Parquet goes with --engine=ray")
    named = {".csv": "csv", ".json": "json", ".jsonl": "json"}.get(suffix)
    if named and options.format and named != options.format:
        raise UsageError(f"--output={options.output} and --format={options.format} contradict")
    return options.format or named or "csv"


def _is_same(output: Path, given: str) -> bool:
    if output.exists() and os.path.exists(given):
        return os.path.samefile(output, given)
    return os.path.abspath(output) == os.path.abspath(given)


def _check_ray(options: argparse.Namespace) -> argparse.Namespace:
    options.format = options.format or "parquet"
    options.output = options.output_dir or options.output  # As it was called before
    if options.features:
        raise UsageError("--features goes without --engine=ray")
    if options.format not in ("parquet", "csv") or not options.output:
        raise UsageError("--engine=ray takes --output_dir=DIR, and --format=parquet or csv")
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine=ray needs Ray: pip install 'dfk-keras[ray]'")
    return options


def _score_on_ray(options: argparse.Namespace) -> int:
    """Scores images in parts; returns the exit code."""
    from dfk import inference
    from dfk.inference import on_ray
    from dfk.inference.answers import answers_of

    # Before a cluster is started
    answers_of(inference.load(options.model), **_asked(options))
    with on_ray.connected():
        outcome = on_ray.score(
            options.model,
            options.images,
            options.output,
            form=options.format,
            actors=options.actors or 0,
            batch_size=options.batch_size,
            **_asked(options),
        )
    print(printable(f"{outcome.count.images} rows in {options.output}"))
    for example in outcome.examples:
        print(printable(f"dfk: {example}"), file=sys.stderr)
    return _summary(outcome.count, options)


def _score(predict, form, options, write: Callable[[str], None], file=None, features=None) -> int:
    """Writes a row per image as `predict`, from images to batches, answers; the exit code."""
    from dfk.data import sources
    from dfk.data.entries import Kinds
    from dfk.inference.continued_file import without
    from dfk.inference.doubts import Count
    from dfk.system.progress import Bar

    count, bad, left_out = Count(), Kinds(), Kinds()
    names: list[str] = []

    def counted(paths: Iterable[str], predictions: Iterable) -> None:
        for path, prediction in zip(paths, predictions, strict=False):
            count.see(prediction.error, prediction.doubt)
            if prediction.error:
                bad.add(path)

    def before() -> Iterator:
        for row in file.rows():
            counted([row.path], [row.prediction])
            yield row

    def images() -> Iterator:
        given = sources.find(options.images, left_out=left_out)
        for source in without(given, before()) if file else given:
            names.append(source.name if file else shown(source.name, sys.stdout))
            yield source.image

    start = file.count if file else 0
    with Bar(desc="predict", unit=" images", initial=start) as bar:
        _count_in_background(options.images, bar)
        for batch in predict(images()):
            write("".join(form.line(*row) for row in zip(names, batch, strict=False)))
            if features:
                features.add(names, batch)
            counted(names, batch)
            del names[: len(batch)]
            bar.update(len(batch))
    return _summary(count, options, bad, left_out)


def _asked(options: argparse.Namespace) -> dict:
    """What is asked of the answers, as `dfk.inference.answers.answers_of` takes it."""
    names = ("coverage", "min_confidence", "unknown", "claims", "recheck")
    return {name: getattr(options, name) for name in names}


def _to_stdout(text: str) -> None:
    # Not through a bar that is drawn on the same terminal.
    from dfk.system.progress import Bar

    with Bar.external_write_mode(sys.stdout):
        sys.stdout.write(text)
        sys.stdout.flush()


def _count_in_background(arguments: list[str], bar) -> None:
    """Tells the bar how many images there are, once that is known: it then shows the time left."""
    from dfk.data import sources

    if sources.STDIN in arguments:
        return

    def count() -> None:
        with contextlib.suppress(DfkError, OSError):  # The listing that counts will say so.
            bar.total = sum(1 for _ in sources.find(arguments))

    threading.Thread(target=count, daemon=True).start()


def _summary(count, options: argparse.Namespace, bad="", left_out="") -> int:
    if options.claims:
        from dfk.data.claims import CAUTION

        print(f"dfk: {CAUTION}; no label or probability depends on them", file=sys.stderr)
    if str(count):
        print(printable(f"dfk: {count}"), file=sys.stderr)
    return summary(count.images, count.unread, options.images, bad, left_out)
