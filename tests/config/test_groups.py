"""Values nested in groups under flat flags: knobs, groups, options and experiment."""

import dataclasses
import re

import pytest

from dfk import config
from dfk.config.knobs import knob
from dfk.config.options import Network
from dfk.config.values import Number
from dfk.errors import UsageError


@dataclasses.dataclass(frozen=True)
class _Toy(Network):
    """Its `--dropout` is one number, where DeepFakeNet's are three."""

    dropout: float = knob(0.1, "The dropout rate before the logits.", Number(float, 0, 0.8))
    depth: int = knob(2, "How many layers there are.", Number(int, 1, 9))


@pytest.fixture
def toy(monkeypatch):
    """Another kind of model, `--model=toy`."""
    monkeypatch.setitem(config.OPTIONS, "toy", _Toy)


def _parse(*arguments):
    (parsed,) = config.parse(["--data_dir=x", *arguments])
    return parsed


def test_flags_are_flat_and_values_nested():
    parsed = _parse("--epochs=3", "--image_size=64", "--dropout=0,0,0", "--seed=7", "--export")
    assert (parsed.fit.epochs, parsed.input.image_size, parsed.run.seed) == (3, 64, 7)
    assert parsed.options.dropout == ("0", "0", "0") and parsed.keras.export
    assert [parsed.value(name) for name in ("model", "epochs", "seed")] == ["deepfakenet", 3, 7]


def test_a_config_is_changed_by_the_names_of_flags_and_stays_as_it_was():
    plain = _parse("--epochs=3")
    changed = plain.with_(epochs=4, seed=1, dropout=("0", "0", "0"))
    assert (changed.fit.epochs, changed.run.seed, changed.options.dropout[0]) == (4, 1, "0")
    assert (plain.fit.epochs, plain.run.seed) == (3, 0)
    assert changed.with_(epochs=3, seed=0, dropout=plain.options.dropout) == plain
    for frozen, name in ((plain, "model"), (plain.fit, "epochs"), (plain.options, "dropout")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, name, 1)


def test_another_model_has_its_own_options():
    plain = _parse("--epochs=3", "--dropout=0,0,0")
    residual = plain.with_(model="residual", high_pass=True)
    assert residual.options.high_pass and residual.fit.epochs == 3
    assert residual.with_(model="deepfakenet").options == config.DEFAULTS.options
    assert plain.with_(model="svm") == _parse("--model=svm").with_(experiment="deepfakenet")
    with pytest.raises(TypeError, match="--model=residual has no knob 'dropout'"):
        residual.with_(dropout=())
    with pytest.raises(TypeError, match="--model=svm has no knob 'epochs'"):
        _parse("--model=svm").value("epochs")


def test_a_flag_that_two_kinds_share_means_the_one_of_the_model_that_is_chosen(toy):
    assert _parse("--model=toy").options == _Toy(dropout=0.1, depth=2)
    chosen = _parse("--model=toy", "--dropout=0.4", "--depth=3")
    assert chosen.options == _Toy(dropout=0.4, depth=3)
    assert "--dropout=0.4\n--depth=3\n" in chosen.to_flags()
    assert config.parse(chosen.to_flags().splitlines()) == [chosen]
    assert _parse("--dropout=0,0,0.5").options.dropout == ("0", "0", "0.5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=toy", "--dropout=0,0,0.5"], "--dropout=0,0,0.5: a number from 0 to 0.8"),
        (["--dropout=0.4"], "--dropout=0.4: three numbers from 0 to 0.99"),
        (["--model=svm", "--dropout=0.4"], "--model=svm has none, deepfakenet and toy have"),
        (["--model=svm", "--dropout=x"], "--dropout=x: three numbers"),
        (["--model=toy", "--high_pass"], "residual has; it has --dropout, --depth"),
        (["--model=toys"], "--model=toys: one of .*, toy"),
    ],
)
def test_a_value_that_only_the_other_kind_takes_is_refused(toy, arguments, message):
    with pytest.raises(UsageError, match=message):
        _parse(*arguments)


def test_beside_a_suite_a_shared_flag_must_suit_every_member_that_has_it(toy, tmp_path):
    for model in ("toy", "deepfakenet", "svm"):
        (tmp_path / f"{model}.flags").write_text(f"--model={model}\n")
    suite = "--suite=" + ",".join(f"{tmp_path}/{model}.flags" for model in ("toy", "svm"))
    of_toy, of_svm = config.parse(["--data_dir=x", suite, "--dropout=0.4"])
    assert of_toy.options.dropout == 0.4 and "dropout" not in of_svm.to_flags()
    with pytest.raises(UsageError, match=r"--dropout=0\.4: three numbers"):
        config.parse(["--data_dir=x", f"{suite},{tmp_path}/deepfakenet.flags", "--dropout=0.4"])


def test_the_help_has_the_groups_as_headings(toy):
    sections = re.split(r"\n(?=\S.*:\n)", config.flags_help())
    of = {text.strip().splitlines()[0]: text for text in sections if text}
    networks, trained = (f"deepfakenet, vgg16, residual, rich{x}" for x in (", fisher", ""))
    assert list(of)[:5] == [
        *(
            "The model:",
            "The images:",
            "The run:",
            f"Keras models ({networks}, ensemble, added, toy):",
        ),
        f"What a network sees of the images ({networks}, toy):",
    ]
    assert "--epochs" in of[f"How a network is trained ({trained}, toy):"]
    assert "three numbers" in of["With --model=deepfakenet:"]
    assert "a number from 0 to 0.8; default: 0.1" in of["With --model=toy:"]
    assert "With --model=svm:" not in of


KNOBS = [(name, one) for name, knobs in config.every_knob().items() for one in knobs]


@pytest.mark.parametrize(("name", "knob"), KNOBS, ids=[name for name, _ in KNOBS])
def test_every_help_is_a_sentence_that_stands_alone(name, knob):
    assert re.fullmatch(r"(?!Of |With |After |Most |The start)[A-Zg].{15,}\.", knob.help)
    (about,) = re.findall(rf"\n  --(?:\[no\])?{name}\n((?:      .*\n?)+)", config.flags_help())[:1]
    default = "" if knob.default in ("", ()) else knob.line(knob.default)
    assert f"default: {default.partition('=')[2] or 'none'})" in " ".join(about.split())


def test_a_name_that_kinds_share_is_a_switch_for_all_or_none():
    for knobs in config.every_knob().values():
        assert len({one.is_switch for one in knobs}) == 1
