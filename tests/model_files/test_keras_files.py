"""Hostile and damaged `.keras` files: bombs, names that run code, weights that lie elsewhere."""

import io
import json
import resource
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import dfk
from dfk import models
from dfk.errors import UsageError
from dfk.model_files import archives, bounds, keras_config, keras_files
from dfk.model_files.refused import Refused
from dfk.runs.locate import locate
from tests.networks import save_tiny

CONFIG, WEIGHTS = keras_files.CONFIG, keras_files.WEIGHTS
IMAGE = np.zeros((1, 16, 16, 3), np.float32)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The entries of a small genuine file."""
    path = save_tiny(tmp_path_factory.mktemp("genuine") / "m.keras", ("a", "b"), seed=0)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path, parts, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def changed(parts, change):
    """The entries with a configuration that `change` has had."""
    config = json.loads(parts[CONFIG])
    change(config)
    return parts | {CONFIG: json.dumps(config).encode()}


def layers_of(config):
    """The layers of the network inside a classifier."""
    outer = config["config"]["layers"]
    return next(x for x in outer if x["config"]["name"] == "network")["config"]["layers"]


def layer_of(config, kind):
    found = [x for x in layers_of(config) + config["config"]["layers"] if x["class_name"] == kind]
    return found[0]


def refused(path, message):
    with pytest.raises(UsageError, match=message) as caught:
        dfk.load(path)
    assert "\n" not in str(caught.value)


# What is unpacked


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "assets/x"])
def test_a_bomb_is_refused_before_it_is_unpacked(parts, method, name, tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "_ANYWAY", 2**20)
    bomb = pack(tmp_path / "m.keras", parts | {name: bytes(2**26)}, method)
    monkeypatch.setattr(archives, "read", lambda *_: pytest.fail("unpacked"))
    refused(bomb, "would unpack to 6. MiB|it holds 'assets/x'")


def test_a_gibibyte_of_zeros_takes_no_memory(tmp_path):
    path = tmp_path / "m.keras"
    opened = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with opened as archive, archive.open(WEIGHTS, "w") as entry:
        for _ in range(64):
            entry.write(bytes(2**24))
    assert path.stat().st_size < 1.1 * 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, r"its 1\.0 MiB would unpack to 1,024 MiB, as no file of dfk does")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_an_entry_that_claims_less_than_it_is_does_not_get_more(parts, tmp_path):
    # zipfile itself unpacks all of LZMA, whatever the entry claims.
    path = pack(tmp_path / "m.keras", parts | {WEIGHTS: bytes(2**28)}, zipfile.ZIP_LZMA)
    data, claim = path.read_bytes(), (2**28).to_bytes(4, "little")
    assert data.count(claim) == 2
    path.write_bytes(data.replace(claim, (1000).to_bytes(4, "little")))
    with archives.opened(path) as archive, pytest.raises(Refused, match=r"model\.weights\.h5"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        archives.read(archive, WEIGHTS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # kB


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_holds_each_entry_once_and_nothing_else(parts, tmp_path):
    refused(pack(tmp_path / "x.keras", parts | {"../x": b""}), r"it holds '\.\./x'")
    with zipfile.ZipFile(tmp_path / "twice.keras", "w") as archive:
        for name in (CONFIG, CONFIG, WEIGHTS):
            archive.writestr(name, parts[name])
    refused(tmp_path / "twice.keras", f"it holds '{CONFIG}'")


def test_compact_files_are_far_from_the_bounds():
    for name in ("unibuc", "unibuc-small"):
        path = locate(name)
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        assert unpacked < 3 * path.stat().st_size < bounds.unpacked(path) / 5


# What the configuration may name


def _of(module, name, config, registered=None):
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


_CODE = {"class_name": "__lambda__", "config": {"value": ["4wAA", None, None]}}
ATTACKS = {
    "lambda": _of("keras.layers", "Lambda", {"function": _CODE}),
    "tfsm": _of("keras.layers", "TFSMLayer", {"filepath": "/tmp/x"}),
    "torch": _of("keras.layers", "TorchModuleWrapper", {"module": "gASVAA=="}),
    "jax": _of("keras.layers", "JaxLayer", {"call_fn": "f"}),
    "vocabulary": _of("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    "integers": _of("keras.layers", "IntegerLookup", {"vocabulary": "/etc/passwd"}),
    "text": _of("keras.layers", "TextVectorization", {"vocabulary": "/etc/passwd"}),
    "file": _of("keras.utils", "get_file", {"origin": "file:///etc/passwd"}),
    "loader": _of("keras.models", "load_model", {"filepath": "/tmp/x.keras"}),
    "python": _of("os", "system", {"command": "true"}),
    "builtin": _of("builtins", "eval", "1"),
    "function": _of("builtins", "function", "exec", "exec"),
    "camouflaged": _of("keras.layers", "ReLU", {}, "keras_cv>Evil"),
    "registered": _of(None, "Evil", {}, "tests>Evil"),
    "hidden": _of("keras.src.saving.saving_lib", "DiskIOStore", {"root_path": "/tmp"}),
    "legacy": {"class_name": "Lambda", "config": {"function": ["4wAA", None, None]}},
    "loop": _of("keras.src.ops.core", "Map", {"function": _CODE}, "Map"),
    "typespec": {"class_name": "__typespec__", "config": [], "spec_name": "x"},
    "metric": _of("keras.metrics", "AUC", {"num_thresholds": 10**10}),
    "bytes": {"class_name": "__numpy__", "config": {"value": [1] * 9, "dtype": "S999999999"}},
    "optimizer": _of("keras.optimizers", "Adam", {}),
}
PLACES = {
    "layer": lambda config, attack: layers_of(config).insert(1, attack),
    "argument": lambda config, attack: layer_of(config, "Conv2D")["config"].update(
        activation=attack
    ),
    "call": lambda config, attack: layer_of(config, "Conv2D")["inbound_nodes"][0]["kwargs"].update(
        x=[attack]
    ),
}


@keras.saving.register_keras_serializable(package="tests")
class Evil(keras.layers.Layer):
    """Of a program that has registered it; no file can make one all the same."""

    made = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        Evil.made = True


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_else_is_made_of_a_name(parts, name, place):
    data = changed(parts, lambda config: PLACES[place](config, ATTACKS[name]))[CONFIG]
    with pytest.raises(Refused, match=r"it names .*, of which dfk's models have none"):
        keras_config.read(data)
    assert not Evil.made


def test_a_refused_name_is_told_with_the_file(parts, tmp_path):
    path = pack(
        tmp_path / "m.keras", changed(parts, lambda c: layers_of(c).insert(1, ATTACKS["tfsm"]))
    )
    refused(
        path, r"m\.keras cannot be loaded as a Keras model: it names .*TFSMLayer.*; load it with"
    )


def test_how_a_model_was_compiled_is_not_looked_at(parts, tmp_path):
    def compiled(config):
        config["compile_config"] = {"optimizer": ATTACKS["python"]}
        network = next(x for x in config["config"]["layers"] if x["config"]["name"] == "network")
        network["compile_config"] = {"loss": ATTACKS["registered"]}

    path = pack(tmp_path / "m.keras", changed(parts, compiled))
    assert dfk.load(path).class_names == ("a", "b") and not Evil.made


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000, "no JSON"),
        (
            b'{"class_name": "Functional", "module": "keras", "x": '
            + b'{"a": ' * 200
            + b"1"
            + b"}" * 201,
            "levels",
        ),
        (b" " * (8 * 2**20 + 1), "bytes, more than"),
        (b"[]", "describes no model"),
        (b"\xff", "no JSON"),
    ],
)
def test_a_configuration_has_bounds(data, message):
    with pytest.raises(Refused, match=message):
        keras_config.read(data)


def test_a_keras_programmers_own_network_loads(tmp_path):
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, activation="gelu", kernel_regularizer="l2")(images)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(keras.layers.LayerNormalization()(x))
    x = keras.layers.RandomFlip()(keras.layers.Dropout(0.2)(x))
    x = keras.ops.mean(keras.ops.sqrt(keras.ops.abs(x)) + 1.0, axis=(1, 2))
    x = keras.Sequential([keras.layers.Dense(8), keras.layers.LeakyReLU()])(x)
    network = keras.Model(images, keras.layers.Dense(2)(x), name="network")
    network.compile("adam", "mse", metrics=[keras.metrics.AUC()])
    model = models.image_classifier(
        network, input_shape=(16, 16, 3), class_names=("a", "b"), name="my_own"
    )
    model.save(tmp_path / "m.keras")
    loaded = dfk.load(tmp_path / "m.keras").model
    np.testing.assert_allclose(loaded(IMAGE), model(IMAGE), atol=1e-6)


# What the weights hold


def _h5(change):
    def make(data):
        file = io.BytesIO(data)
        with h5py.File(file, "a") as opened:
            change(opened)
        return file.getvalue()

    return make


def _external_data(file):
    file.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def _virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("x", layout)


H5 = {
    "external link": (lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")),
                      "leads elsewhere"),
    "soft link": (lambda f: f.__setitem__("x", h5py.SoftLink("/layers")), "leads elsewhere"),
    "external data": (_external_data, "lies in another file"),
    "virtual": (_virtual, "lies in another file"),
    "bomb": (lambda f: f.create_dataset("x", (2**34,), "f4", chunks=(2**20,)), "weights claim"),
    "text": (lambda f: f.__setitem__("x", "text"), "no array of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", H5)
def test_weights_lie_in_their_own_file_and_have_bounds(parts, case, tmp_path):
    change, message = H5[case]
    data = _h5(change)(parts[WEIGHTS])
    refused(pack(tmp_path / "m.keras", parts | {WEIGHTS: data}), message)
    (tmp_path / "m.weights.h5").write_bytes(data)
    for name in ("m.keras", "m.weights.h5"):
        with pytest.raises(models.WeightsError, match=message):
            models.check_weights(tmp_path / name)


def test_a_cycle_of_groups_ends(parts, tmp_path):
    data = _h5(lambda f: f.create_group("x").__setitem__("y", f["/"]))(parts[WEIGHTS])
    path = pack(tmp_path / "m.keras", parts | {WEIGHTS: data})
    assert dfk.load(path).class_names == ("a", "b")


def test_layers_that_the_file_holds_no_weights_for_are_not_allocated(parts, tmp_path):
    path = pack(
        tmp_path / "m.keras",
        changed(parts, lambda c: layer_of(c, "Conv2D")["config"].update(kernel_size=[2**15] * 2)),
    )
    refused(path, "its layers take weights of .* MiB, it holds")
    # Nor later: Keras would catch up in the next scope of the thread.
    with keras.StatelessScope():
        pass


# What the head says


HEADS = {
    "too few": ({"class_names": ["a"]}, "names 1 classes and answers 2"),
    "too many": ({"class_names": ["a", "b", "c"]}, "names 3 classes and answers 2"),
    "twice": ({"class_names": ["a", "a"]}, "the same name"),
    "numbers": ({"class_names": [1, 2]}, "no list of texts"),
    "infinite": ({"thresholds": {"unknown_centred_logit": float("inf")}}, "is no number"),
    "short": ({"thresholds": {"set_0.95": [0.1]}}, "is no number"),
    "text": ({"thresholds": {"set_0.95": "ab"}}, "is no number"),
    "no record": ({"trained_on": {"demo": True}}, "no record of dfk's"),
    "cold": ({"temperature": float("inf")}, "no number above 0"),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_that_does_not_fit_is_refused_by_all_who_load(parts, case, tmp_path):
    head, message = HEADS[case]
    path = pack(
        tmp_path / "m.keras",
        changed(parts, lambda c: layer_of(c, "CalibratedSoftmax")["config"].update(head)),
    )
    refused(path, message)
    with pytest.raises(UsageError, match=message):
        models.load_member(path)


def test_images_are_not_resized_to_gigabytes(parts, tmp_path):
    path = pack(
        tmp_path / "m.keras",
        changed(
            parts, lambda c: layer_of(c, "Resizing")["config"].update(height=2**17, width=2**17)
        ),
    )
    refused(path, "more than any image may have")


# On the command line, as a model, a member, a teacher and weights


@pytest.mark.parametrize("content", [b"{}", b"[]", b"", b"\xff\xfe\x00", "cut", "folder"])
def test_a_damaged_file_is_one_line_wherever_it_is_given(parts, content, tmp_path):
    path = tmp_path / "m.keras"
    if content == "folder":
        path.mkdir()
    else:
        whole = pack(path, parts).read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    for load in (dfk.load, models.load_member, models.check_weights):
        with pytest.raises(UsageError, match=r"m\.keras") as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_the_command_says_it_in_one_line(parts, tmp_path):
    path = pack(
        tmp_path / "m.keras", changed(parts, lambda c: layers_of(c).insert(1, ATTACKS["lambda"]))
    )
    command = [
        sys.executable,
        "-c",
        "from dfk.cli import main; raise SystemExit(main())",
        "info",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert "cannot be loaded as a Keras model: it names module='keras.layers'" in done.stderr
    assert "Traceback" not in done.stderr
