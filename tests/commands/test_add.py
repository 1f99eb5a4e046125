"""`dfk add`: what it asks of training, and what it says of mistakes."""

import pytest

from dfk import cli, config, runs
from dfk.commands import add, train
from tests.datasets import save
from tests.networks import save_tiny
from tests.pictures import noise


@pytest.fixture
def asked(monkeypatch):
    """The experiments that training was asked for."""
    found = []
    monkeypatch.setattr(train, "_train", found.extend)
    return found


@pytest.fixture
def new_images(tmp_path):
    for i in range(5):
        save(noise(16, 16, seed=i), tmp_path / "new" / f"{i}.png")
    return tmp_path / "new"


def test_a_run_tells_what_images_it_had(finished, new_images, tmp_path, asked):
    settings, _ = finished
    arguments = [str(settings.run_dir), "stylegan", str(new_images), f"--output_dir={tmp_path}"]
    assert cli.main(["add", *arguments, "--most_lost=0.05"]) == 0
    (found,) = asked
    assert (found.model, found.run.experiment) == ("added", "deepfakenet+stylegan")
    assert found.data == settings.data and found.run.output_dir == str(tmp_path)
    assert found.options.sources() == [("base", str(settings.run_dir))]
    assert found.options.classes() == [("stylegan", str(new_images))]
    assert found.options.most_lost == 0.05


def test_a_second_class_is_added_beside_the_first(finished, new_images, tmp_path, asked):
    """To the model that the first was added to, so that both are learned side by side."""
    settings, _ = finished
    (first,) = config.parse(add._flags(str(settings.run_dir), "a", "images/a, b", []))
    folder = tmp_path / "deepfakenet+a"
    folder.mkdir()
    save_tiny(folder / runs.MODEL, ("0", "1", "2", "a"), 0)
    (folder / runs.FLAGS).write_text(first.to_flags())
    assert cli.main(["add", str(folder), "c", str(new_images)]) == 0
    (found,) = asked
    assert found.run.experiment == "deepfakenet+a+c"
    assert found.options.base == str(settings.run_dir)
    assert found.options.classes() == [("a", "images/a, b"), ("c", str(new_images))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unibuc", "new", "{new}"], "images of all its classes by --data_dir (`dfk info unibuc`"),
        (["no/run", "new", "{new}"], "there is no model at no/run"),
        (["unibuc", "a:b", "{new}", "--data_dir=x"], "no colon"),
        (["unibuc", "new"], "required: DIR"),
        (["unibuc", "new", "{new}", "--data_dir=demo", "--epochs=3"], "--model=added has none"),
        (["unibuc", "2", "{new}", "--data_dir={data}"], "there is such a class already"),
        (["unibuc", "new", "{new}", "--data_dir={data}"], "the base unibuc knows the classes"),
        (["unibuc", "new", "{new}/none", "--data_dir={data}"], "no such folder"),
    ],
)
def test_a_mistake_is_told_before_any_work(
    arguments, message, new_images, data_dir, tmp_path, capfd
):
    arguments = [x.format(new=new_images, data=data_dir) for x in arguments]
    assert cli.main(["add", *arguments, f"--output_dir={tmp_path}"]) == 2
    err = capfd.readouterr().err
    assert message in err and "Traceback" not in err
    assert not [path for path in tmp_path.iterdir() if path.name != "new"]


def test_its_help_has_examples(capsys):
    assert cli.main(["add", "--help"]) == 0
    assert "dfk add runs/rich stylegan my/stylegan_images" in capsys.readouterr().out
