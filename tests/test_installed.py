"""What is built to be installed: all of the code and the recipes, working without the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import setuptools

from dfk import cli
from tests.pictures import encode, noise

ROOT = Path(__file__).parents[1]


def test_every_package_is_named_in_pyproject():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "dfk").rglob("*.py")}
    packages = {".".join(folder.parts) for folder in folders}
    assert {*settings["packages"]} == packages | {"dfk.recipes"}


def _build(kind, source, folder):
    """A wheel or sdist, without a network: the build backend is that of the environment."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True
    )
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist of a copy of the checkout, and the wheel of that sdist."""
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("setuptools is older than what pyproject.toml builds with")
    place = tmp_path_factory.mktemp("built")
    for name in ("dfk", "configs"):
        shutil.copytree(ROOT / name, place / "copy" / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / "copy")
    sdist = _build("sdist", place / "copy", place)
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    return sdist, _build("wheel", place / sdist.name.removesuffix(".tar.gz"), place)


def _install(wheel, place):
    """The folder of the programs of an environment with a wheel and this one's libraries."""
    venv.create(place, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install"]
    subprocess.run([*pip, "--no-index", "--no-deps", "-q", wheel], check=True)
    (libraries,) = place.glob("lib/*/site-packages")
    # A line of a .pth file heeds no other .pth, so not the dfk that is installed to be edited.
    (libraries / "others.pth").write_text("\n".join(p for p in sys.path if "-packages" in p))
    return place / "bin"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment with the wheel."""
    return _install(built[1], tmp_path_factory.mktemp("installed"))


def _run(installed, folder, *arguments):
    """What a command says, away from the checkout."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [installed / "dfk", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_has_all_code_and_every_recipe(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    written = {
        str(Path("dfk/recipes") / path.relative_to(ROOT / "configs"))
        for path in (ROOT / "configs").rglob("*.flags")
    }
    written |= {
        str(path.relative_to(ROOT))
        for path in (ROOT / "dfk").rglob("*.*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert written <= names
    assert not [name for name in names if not name.startswith(("dfk/", "dfk_keras-"))]


@pytest.mark.slow
def test_an_image_is_answered_and_a_recipe_trained_from_the_wheel(installed, tmp_path):
    (tmp_path / "photo.png").write_bytes(encode(noise(100, 100), "PNG"))
    answer = _run(installed, tmp_path, "predict", "unibuc", "photo.png", "--format=csv")
    assert answer.startswith("path,label,confidence,") and "photo.png," in answer
    assert "residual_wide" in _run(installed, tmp_path, "recipes")
    short = ["--data_dir=demo", "--limit=60", "--epochs=1", "--train_crop=32"]
    table = _run(installed, tmp_path, "train", "--recipe=residual_wide", *short)
    assert "| residual_wide" in table
    assert (tmp_path / "runs" / "residual_wide" / "report.html").is_file()
    suite = _run(installed, tmp_path, "train", "--recipe=quickstart", "--limit=60", "--epochs=1")
    assert "| vgg16" in suite and "| ensemble" in suite


@pytest.mark.slow
@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself_from_the_wheel(command, installed, tmp_path):
    assert "--" in _run(installed, tmp_path, command, "--help")


@pytest.mark.slow
def test_recipes_are_found_where_the_checkout_is_installed_to_be_edited(built, tmp_path):
    source = built[0].parent / built[0].name.removesuffix(".tar.gz")
    programs = _install(_build("editable", source, tmp_path), tmp_path / "environment")
    recipe = source / "configs" / "mine.flags"
    recipe.write_text("# what: mine\n--recipe=rich\n")
    assert "\nmine,mine," in _run(programs, tmp_path, "recipes", "--format=csv")
    recipe.unlink()
