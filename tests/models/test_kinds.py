"""The records of the kinds of model, and how little a new network needs."""

import dataclasses

import keras
import pytest

from dfk import cli, config, models
from dfk.config.knobs import knob
from dfk.config.options import FixedPart, Network
from dfk.config.values import Number
from dfk.models import KINDS
from dfk.models.classifier import image_classifier
from dfk.models.kinds import Kind
from tests.datasets import write_kaggle

NETWORKS = [name for name, kind in KINDS.items() if kind.network]


def _parse(*flags):
    (parsed,) = config.parse(["--data_dir=x", *flags])
    return parsed


def test_each_kind_has_both_halves_of_its_record():
    assert list(KINDS) == list(config.OPTIONS)
    for name, kind in KINDS.items():
        options = config.OPTIONS[name]
        assert issubclass(options, Network) == bool(kind.network)
        assert issubclass(options, FixedPart) == bool(kind.last_fixed)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_record_says_what_its_network_is(name):
    settings = _parse(f"--model={name}", "--image_size=0", "--seed=3")
    settings = settings.with_(vgg16_weights="none") if name == "vgg16" else settings
    model = models.build(settings, ("a", "b"), precision="float32")
    assert models.class_names_of(model) == ("a", "b")
    assert KINDS[name].least(settings) == models.smallest_image(model)
    if KINDS[name].last_fixed:
        layer = models.network_of(model).get_layer(KINDS[name].last_fixed)
        assert len(layer.output.shape) == 2
    (phase,) = KINDS[name].phases(settings)
    assert (phase.until, phase.learning_rate, phase.trainable_from) == (50, 0.05, None)
    assert phase.is_fixed == (name in ("rich", "fisher"))


@pytest.mark.parametrize(
    ("flags", "ends"),
    [
        (["--epochs=9", "--head_epochs=4"], [(4, 0.05, "", True), (9, 1e-5, "block4", False)]),
        (["--epochs=3", "--head_epochs=4"], [(3, 0.05, "", True)]),
        (["--epochs=3", "--head_epochs=0"], [(3, 1e-5, "block4", False)]),
        (["--epochs=9", "--fine_tune_from="], [(3, 0.05, "", True), (9, 1e-5, "", True)]),
    ],
)
def test_vgg16_with_given_weights_trains_its_head_first(flags, ends):
    settings = _parse("--model=vgg16", *flags)
    assert KINDS["vgg16"].phases(settings) == [models.Phase(*end) for end in ends]


@dataclasses.dataclass(frozen=True)
class _ToyOptions(Network):
    depth: int = knob(2, "How many convolutions there are.", Number(int, 1, 9))


def _toy_net(*, input_shape, classes, class_names, seed, dtype, depth, name="toy"):
    images = x = keras.Input((None, None, 3))
    for _ in range(depth):
        x = keras.layers.Conv2D(4, 3, dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    network = keras.Model(images, keras.layers.Dense(classes, name="logits")(x), name="network")
    return image_classifier(network, input_shape=input_shape, class_names=class_names, name=name)


@pytest.fixture
def toy(monkeypatch):
    """A network of one's own: a builder, its knobs and its record."""
    kind = Kind(_toy_net, lambda settings, _: {"depth": settings.options.depth})
    monkeypatch.setitem(config.OPTIONS, "toy", _ToyOptions)
    monkeypatch.setitem(KINDS, "toy", kind)


def test_a_new_network_trains_by_its_record_alone(toy, tmp_path, capsys):
    data_dir = write_kaggle(tmp_path / "data", counts={"train": 40, "validation": 6})
    flags = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}/runs", "--model=toy", "--depth=3"]
    steps = ["--epochs=1", "--batch_size=64", "--image_size=16", "--precision=float32"]
    assert cli.main(["train", *flags, *steps]) == 0
    assert "toy" in capsys.readouterr().out
    run = tmp_path / "runs" / "toy"
    assert {"--model=toy", "--depth=3"} <= set((run / "config.flags").read_text().splitlines())
    saved = models.network_of(keras.models.load_model(run / "model.keras"))
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in saved.layers) == 3
    assert cli.main(["train", *flags, *steps, "--resume"]) == 0
    assert cli.main(["train", *flags, *steps, "--experiment=small", "--image_size=6"]) == 2
    assert "--model=toy needs images and crops of at least 7 pixels" in capsys.readouterr().err
    assert cli.main(["train", *flags, "--model=svm"]) == 2
    assert "--depth: --model=svm has none, toy has" in capsys.readouterr().err
