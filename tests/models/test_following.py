"""What follows from weights where no flag says it, and what contradicts them."""

from pathlib import Path

import pytest

from dfk import config, models, training
from dfk.errors import UsageError
from dfk.models import following
from tests.networks import network


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory):
    """A folder with a run of each of some networks, an ensemble, and an SVM's."""
    folder = tmp_path_factory.mktemp("runs")
    small = network(16, make=models.DeepFakeNet, input_range=(-1.0, 1.0), dropout=(0.1, 0.2, 0.3))
    residual = network(None, make=models.ResidualNet, filters=(2, 3), high_pass=True)
    both = models.Ensemble([small, residual])
    for name, model in (("small", small), ("mine", residual), ("both", both)):
        (folder / name).mkdir()
        model.save(folder / name / "model.keras")
    residual.save_weights(folder / "arrays.weights.h5")
    (folder / "svm").mkdir()
    (folder / "svm" / "model.skops").write_bytes(b"")
    return folder


def _parse(output_dir, *flags):
    given = ["--data_dir=demo", f"--output_dir={output_dir}", *flags]
    return config.parse([flag.format(output_dir) for flag in given], models.follow)


@pytest.mark.parametrize(
    ("flags", "model", "size", "more"),
    [
        (["--weights=mine"], "residual", 0, {"filters": ("2", "3"), "high_pass": True}),
        (["--weights={}/mine"], "residual", 0, {"high_pass": True}),
        (["--weights={}/mine/model.keras"], "residual", 0, {"high_pass": True}),
        (["--weights=small"], "deepfakenet", 16, {"input_range": ("-1", "1")}),
        (["--weights=small", "--image_size=24"], "deepfakenet", 24, {"input_range": ("-1", "1")}),
        (["--weights=small", "--input_range=0,1"], "deepfakenet", 16, {"input_range": ("0", "1")}),
        (["--weights=both", "--model=residual"], "residual", 0, {"filters": ("2", "3")}),
        (["--weights=unibuc-small"], "residual", 0, {"high_pass": True}),
        (["--weights=unibuc", "--model=rich"], "rich", 0, {}),
        (["--weights=imagenet"], "vgg16", 128, {"fine_tune_from": "auto"}),
        (["--weights=none"], "deepfakenet", 128, {}),
    ],
)
def test_what_is_not_given_follows_from_the_weights(flags, model, size, more, output_dir):
    (parsed,) = _parse(output_dir, *flags)
    assert (parsed.model, parsed.run.experiment) == (model, model)
    assert parsed.input.image_size == size
    assert {name: parsed.value(name) for name in more} == more
    assert config.parse(parsed.to_flags().splitlines()) == [parsed]  # All is written down.


def test_it_is_said_what_followed(output_dir):
    (parsed,) = _parse(output_dir, "--weights=mine", "--image_size=0")
    assert following.told(parsed) == (
        "From --weights=mine: --model=residual --filters=2,3 --high_pass=True"
    )
    assert following.told(config.DEFAULTS) == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--weights=both"], "ensemble.*--model=deepfakenet or --model=residual"),
        (["--weights=mine", "--model=rich"], "--model=rich: --model=residual would"),
        (["--weights=both", "--model=rich"], "--model=deepfakenet or --model=residual would"),
        (["--weights=mine", "--nohigh_pass"], "fit --high_pass=False: --high_pass=True would"),
        (["--weights=mine", "--filters=4,8"], "fit --filters=4,8: --filters=2,3 would"),
        (["--weights=mine", "--fine_tune_from=block7"], "no block or layer 'block7'; it has"),
        (["--weights=svm"], "is an SVM; a network starts with"),
        (["--weights=svm", "--model=rich"], "is an SVM; a network starts with"),
        (["--weights=gone"], "no model at .*gone; with dfk come"),
        (["--weights=gone", "--model=rich"], "no model at .*gone; with dfk come"),
        (["--weights={}/arrays.weights.h5"], "does not say what network.*--model"),
        (["--weights={}/gone.h5", "--model=residual"], r"gone\.h5"),
        (["--weights=imagenet", "--model=rich"], "are for --model=vgg16"),
        (["--weights=mine", "--model=svm"], "only networks start with weights, --model=svm is"),
        (["--weights=mine", "--model=ensemble", "--members=a,b"], "only networks start with"),
        (["--head_epochs=2"], "--head_epochs: it has no effect without --weights"),
        (["--weights=none", "--fine_tune_from=stem"], "--fine_tune_from: it has no effect"),
        (
            ["--weights=none", "--model=vgg16", "--vgg16_weights=x.h5"],
            "--vgg16_weights: it has no effect without an empty --weights",
        ),
    ],
)
def test_a_contradiction_names_the_flags_that_fit(flags, message, output_dir):
    with pytest.raises(UsageError, match=message):
        training.check(_parse(output_dir, *flags, "--experiment=new"))


def test_a_run_of_the_suite_decides_what_follows_before_it_is_there(output_dir, tmp_path):
    first = "--model=residual\n--filters=2,4,6\n--image_size=0\n"
    (tmp_path / "first.flags").write_text(first)
    (tmp_path / "second.flags").write_text("--weights=first\n--fine_tune_from=block3\n")
    suite = f"--suite={tmp_path}/first.flags,{tmp_path}/second.flags"
    _, second = training.check(_parse(output_dir, suite))
    assert (second.model, second.options.filters) == ("residual", ("2", "4", "6"))
    assert Path(second.start.weights) == output_dir / "first" / "model.keras"
    for line, message in (
        ("--filters=3", "fit --filters=3: --filters=2,4,6 would"),
        ("--model=rich", "is a run of --model=residual"),
        ("--fine_tune_from=block4", "no block or layer 'block4'"),
    ):
        (tmp_path / "second.flags").write_text(f"--weights=first\n{line}\n")
        with pytest.raises(UsageError, match=message):
            training.check(_parse(output_dir, suite))


def test_of_several_seeds_each_starts_with_its_own_and_a_shipped_model_is_that_of_all(output_dir):
    one, two = training.check(_parse(output_dir, "--weights=unibuc-small", "--seeds=1,2"))
    assert {one.start.weights, two.start.weights} == {"unibuc-small"}
    assert one.model == two.model == "residual"


def test_a_flag_file_wins_over_what_would_follow(output_dir, tmp_path):
    (tmp_path / "mine.flags").write_text("--model=deepfakenet\n--image_size=32\n")
    flags = [f"--flagfile={tmp_path}/mine.flags", "--weights=small"]
    (parsed,) = _parse(output_dir, *flags)
    assert (parsed.input.image_size, parsed.options.input_range) == (32, ("-1", "1"))
