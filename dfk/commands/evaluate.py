"""Scores a model on a labelled set and reports it as a run is reported.

The set has either layout that training reads; it may hold a single split, and fewer classes than
the model. --class_map says which of the model's classes a label means where names differ; several
labels may mean one class. Images that cannot be read are named and left out; the exit code is 1.

Up to 500 of the images are also saved again as JPEG of quality 95 and 75: how many answers change,
and to which class they go.

--robustness scores the images again as JPEG, WebP, resized, blurred, noisy, cropped, brighter and
darker, and passed on in social networks, each in several severities. With --recheck these are
scored as by `dfk predict --recheck`, which takes five times as long: how many wrong answers that
tells, against the confidence alone.

With --output_dir, metrics.json, predictions.csv and report.html are written there. The last column
of predictions.csv is what there is to doubt of each answer, as `dfk predict` has it.

Examples:
  dfk evaluate runs/ensemble --data_dir=demo
  dfk evaluate runs/ensemble --data_dir=data/mine --class_map=stylegan2:gan --output_dir=mine
  dfk evaluate runs/ensemble --data_dir=demo --robustness --output_dir=robust
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path

from dfk.commands.parser import MODEL_HELP, Parser, data_set, model, pairs
from dfk.errors import UsageError
from dfk.runs import ownership
from dfk.system.messages import keep_stderr, prepare_logging
from dfk.text import printable, sentence


def main(arguments: list[str]) -> int:
    """Scores a model on a labelled split; returns 1 if some images cannot be read, else 0."""
    options = _parse(arguments)
    keep_stderr()
    prepare_logging()

    from dfk import inference
    from dfk.data.problems import describe
    from dfk.inference.doubts import Count
    from dfk.reports import labelled, resaving, robustness, scored
    from dfk.system.progress import Bar

    classifier = inference.load(options.model)
    names = classifier.class_names
    name, split, missing = labelled.read(options.data_dir, options.split, names, options.class_map)
    bar = functools.partial(Bar, desc=name, unit=" images", total=len(split))
    split, probabilities, doubtful, unreadable = labelled.score(classifier, split, progress=bar)
    result = scored.measure(
        split,
        probabilities,
        names,
        experiment=classifier.name,
        model=classifier.kind,
        data_dir=options.data_dir,
        name=name,
        temperature=classifier.temperature,
        thresholds=classifier.thresholds,
    )
    result["model_path"] = options.model
    count = Count()
    for doubt in doubtful:
        count.add(doubt)
    result["doubts"] = dict(count.of.most_common())
    answer = resaving.answer_of(classifier)
    result["resaved"] = resaving.measure(answer, split, probabilities, names)
    if options.robustness:
        bar = functools.partial(Bar, desc="robustness", unit=" images")
        result |= robustness.measure(
            classifier, split, probabilities, progress=bar, recheck=options.recheck
        )
    if options.output_dir:
        _write(options, classifier, result, split, probabilities, doubtful)
    print(json.dumps(result, indent=2) if options.format == "json" else _text(result))
    told = filter(None, [str(count), resaving.warning(result["resaved"])])
    for line in told:
        print(printable(f"dfk: {line}"), file=sys.stderr)
    problems = [*missing, *unreadable]
    if problems:
        print(f"dfk: left out {len(problems)} images:\n{describe(problems)}", file=sys.stderr)
    return 1 if problems else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("evaluate", __doc__)
    parser.add_argument("model", metavar="MODEL", type=model, help=MODEL_HELP)
    parser.add_argument(
        "--data_dir", required=True, metavar="DIR", type=data_set, help="the images, or `demo`"
    )
    parser.add_argument(
        "--split", metavar="NAME", help="(default: validation, else another that has labels)"
    )
    parser.add_argument(
        "--class_map", type=pairs, default={}, metavar="LABEL:CLASS,...", help="what labels mean"
    )
    parser.add_argument("--robustness", action="store_true", help="also under degradations")
    parser.add_argument("--recheck", action="store_true", help="with --robustness: also rechecked")
    parser.add_argument("--output_dir", type=Path, metavar="DIR", help="where to write the report")
    parser.add_format("table", "json")
    options = parser.parse_args(arguments)
    if options.recheck and not options.robustness:
        raise UsageError("--recheck goes with --robustness")
    if options.output_dir and (options.output_dir / "config.flags").exists():
        raise UsageError(
            f"{options.output_dir} is the folder of a run; choose another --output_dir"
        )
    if options.output_dir:
        ownership.refuse_others(options.output_dir, *ownership.EVALUATION)
    return options


def _write(
    options: argparse.Namespace, classifier, result: dict, split, probabilities, doubts
) -> None:
    from dfk import runs
    from dfk.reports import scored

    options.output_dir.mkdir(parents=True, exist_ok=True)
    scored.write(
        options.output_dir,
        classifier,
        split,
        probabilities,
        result,
        doubts,
        title=f"{result['experiment']} on {options.data_dir}",
        history=[],
        config={name: value for name, value in vars(options).items() if value},
        environment=runs.environment({"data_dir": options.data_dir}),
        command=f"dfk evaluate {options.model} --data_dir={options.data_dir} --output_dir=again"
        + " --robustness" * options.robustness
        + " --recheck" * options.recheck,
    )


def _text(result: dict) -> str:
    from dfk.evaluation import conformal
    from dfk.reports import resaving

    low, high = result["accuracy_ci95"]
    width = max(5, *(len(row["class"]) for row in result["per_class"]))
    lines = [
        f"{result['n']} images of {result['data_dir']}, {result['split']}",
        f"accuracy  {result['accuracy']:.2%}  (95 % interval {low:.1%} to {high:.1%})",
        f"macro F1  {result['macro_f1']:.3f}   ECE {result['ece']:.3f}   NLL {result['nll']:.3f}",
        *(
            f"sets of {level['coverage']:.0%}: hold the class of {level['measured']:.1%}, with "
            f"{level['mean_size']:.2f} classes"
            for level in result.get("conformal", ())
        ),
        *map(sentence, [*conformal.lines(result), *resaving.lines(result["resaved"])]),
        "",
        f"{'class':{width}}  precision  recall     F1  images",
    ]
    for row in result["per_class"]:
        scores = f"{row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:5.3f}"
        lines.append(f"{row['class']:{width}}  {scores}  {row['support']:6}")
    if "robustness" in result:
        from dfk.reports import robustness

        table = robustness.table(result["robustness"], result["robustness_mean"])
        lines += ["", *table.splitlines()]
    if "robustness_recheck" in result:
        lines.append(robustness.recheck_line(result["robustness_recheck"]))
    return "\n".join(map(printable, lines))
