"""What is refused before work, and how often it is asked."""

import unicodedata

import keras
import pytest

from dfk import cli, config, models, training
from dfk.errors import UsageError
from dfk.model_files import keras_files
from dfk.models import vgg
from dfk.training import checks, sources
from tests.datasets import write_folders, write_kaggle


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    counts = {"train": 60, "validation": 12}
    return write_kaggle(tmp_path_factory.mktemp("data") / "kaggle", counts=counts)


def _suite(folder, data_dir, *flags):
    """The arguments of a suite in a folder, of experiments `run0`, `run1`, ... with these flags."""
    for number, text in enumerate(flags):
        (folder / f"run{number}.flags").write_text("\n".join(text))
    names = ",".join(f"{folder}/run{number}.flags" for number in range(len(flags)))
    return [f"--suite={names}", f"--data_dir={data_dir}", f"--output_dir={folder}/runs"]


def test_each_experiment_of_a_suite_is_checked_once(data_dir, tmp_path, monkeypatch):
    asked, check = [], checks._check_one
    monkeypatch.setattr(
        checks, "_check_one", lambda c, u: asked.append(c.run.experiment) or check(c, u)
    )
    arguments = _suite(tmp_path, data_dir, ["--model=svm"], ["--model=svm_forensic"])
    assert cli.main(["train", *arguments]) == 0
    assert asked == ["run0", "run1"]


def test_a_folder_that_has_come_since_the_check_is_left_alone(data_dir, tmp_path):
    arguments = _suite(tmp_path, data_dir, ["--model=svm"])
    (checked,) = training.check(config.parse(arguments))
    checked.run_dir.mkdir(parents=True)
    (checked.run_dir / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is no run"):
        training.run_checked(checked)


def test_classes_have_the_names_that_are_given_to_them_in_all_else(data_dir, tmp_path):
    flags = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}", "--exclude_class=vae"]
    (settings,) = config.parse([*flags, "--class_names=0:gan,3:vae", "--model=svm"])
    assert checks.read_data(settings).class_names == ("gan", "1", "2", "vae", "4")
    training.check([settings])
    assert training.load_data(settings).class_names == ("gan", "1", "2", "4")
    with pytest.raises(UsageError, match="no such class; the data has 0, 1"):
        training.check([settings.with_(class_names=())])
    with pytest.raises(UsageError, match="the classes are 0, 1"):
        training.check([settings.with_(class_names=("5:gan",))])
    with pytest.raises(UsageError, match="'gan' is not label:name, as in"):
        config.parse([*flags, "--class_names=gan"])


def test_names_of_classes_are_compared_in_one_form_of_unicode(tmp_path):
    """Folders from a Mac have accents as letters of their own."""
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    counts = {"train": 45, "validation": 9}
    for there, given in ((nfc, nfd), (nfd, nfc)):
        data = write_folders(tmp_path / given, counts=counts, classes=(there, "x", "y"))
        common = [f"--data_dir={data}", f"--output_dir={tmp_path}", "--image_size=16"]
        parse = lambda *flags, common=common: config.parse([*common, *flags])[0]  # noqa: E731
        (excluding,) = training.check([parse(f"--exclude_class={given}")])
        assert training.load_data(excluding).class_names == ("x", "y")
        assert excluding == parse(f"--exclude_class={there}").with_(
            precision=excluding.fit.precision, augment=excluding.input.augment
        )
        weights = config.weight_per_class(parse(f"--class_weight={given}:3"), ("x", nfc))
        assert weights == [1, 3]
        renamed = checks.read_data(parse(f"--class_names={given}:0"))
        assert renamed.class_names == ("x", "y", "0")
        renamed = checks.read_data(parse(f"--class_names=x:{given}x"))
        assert renamed.class_names == (f"{nfc}x", "y", nfc)


def test_a_member_may_have_the_classes_in_another_form_of_unicode():
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    shape = {"classes": 2, "filters": (2,), "dropout": (0,)}
    members = [models.DeepFakeNet(class_names=(name, "x"), **shape) for name in (nfc, nfd)]
    assert models.common_class_names(members) == (nfc, "x")


@pytest.mark.parametrize(
    "flags",
    [
        ["--model=deepfakenet"],
        ["--model=residual"],
        ["--model=residual", "--filters=4,4,4,4,4,4"],
        ["--model=residual", "--filters=4", "--high_pass"],
        ["--model=rich"],
        ["--model=vgg16", "--vgg16_weights=none"],
    ],
)
def test_the_least_image_is_known_without_building_a_network(flags):
    (settings,) = config.parse(["--data_dir=x", "--image_size=0", *flags])
    built = models.build(settings, ("a", "b"), precision="float32")
    assert checks.smallest_image(settings) == models.smallest_image(built)


@pytest.fixture
def counted(monkeypatch):
    """The names of networks that are built and of files that are loaded, as they come."""
    seen = []
    for name, kind in models.KINDS.items():
        counting = lambda kind=kind, name=name, **k: seen.append(name) or kind.network(**k)  # noqa: E731
        monkeypatch.setitem(models.KINDS, name, kind._replace(network=counting))
    load = keras_files.load
    monkeypatch.setattr(keras_files, "load", lambda p: seen.append("a file") or load(p))
    monkeypatch.setattr(keras.applications, "VGG16", lambda **_: seen.append("VGG16"))
    sources._load.cache_clear()
    return seen


FLAGS = ["--image_size=16", "--epochs=1", "--batch_size=16"]


def test_checking_builds_nothing(counted, data_dir, tmp_path, monkeypatch):
    base = tmp_path / "base.weights.h5"
    flags = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}"]
    for model in ("deepfakenet", "residual", "rich"):
        settings = config.parse([*flags, f"--model={model}", *FLAGS])[0]
        (checked,) = training.check([settings])
        checks.check_data(checked, training.load_data(checked))
    monkeypatch.setattr(vgg, "check_weights", lambda weights: base)
    monkeypatch.setattr(vgg, "has_batch_norm", lambda path: False)
    given = ["--model=vgg16", f"--vgg16_weights={base}", "--image_size=32"]
    training.check(config.parse([*flags, *given]))
    with pytest.raises(UsageError, match="no block or layer 'head'"):
        training.check(config.parse([*flags, *given, "--fine_tune_from=head"]))
    assert counted == []


def test_a_network_is_built_to_train_and_to_deploy(counted, data_dir, tmp_path):
    flags = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}", *FLAGS]
    training.run(config.parse(flags)[0])
    assert counted == ["deepfakenet", "deepfakenet", "a file"]  # Which the report looks at
