"""`import dfk` is cheap, and its layers are known to Keras in whichever order the two come."""

import ast
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

import dfk
import dfk.models.classifier as classifier_module
from dfk import cli
from tests.networks import save_tiny

ROOT = Path(dfk.__file__).parent

_LOAD = "keras.saving.get_registered_object('dfk>Dropout').__module__ == 'dfk.layers.dropout'"


def _run(code):
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_dfk_imports_neither_tensorflow_nor_keras():
    _run("import sys, dfk; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)")


@pytest.mark.parametrize(
    "imports",
    [
        "import dfk, keras",
        "import keras, dfk",
        "import importlib.util, dfk; importlib.util.find_spec('keras'); import keras",
    ],
)
def test_layers_register_in_either_order(imports):
    _run(f"{imports}; assert {_LOAD}")


def test_a_model_that_keras_cannot_open_opens_after_the_import(tmp_path):
    save_tiny(tmp_path / "model.keras", "ab", seed=1)
    _run(
        f"import keras; path = {str(tmp_path / 'model.keras')!r}\n"
        "try: keras.models.load_model(path)\n"
        "except TypeError as error: assert 'Could not locate class' in str(error)\n"
        "import dfk; assert dfk.models.class_names_of(keras.models.load_model(path)) == ('a', 'b')"
    )


def test_its_names_are_listed_without_loading_them_and_every_one_is_there():
    _run(
        "import sys, dfk; assert {'load', 'models', 'layers', 'errors'} < set(dir(dfk))\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "assert dfk.models.DeepFakeNet(classes=2).count_params() > 0\n"
        "assert all(hasattr(dfk, name) for name in dir(dfk))"
    )
    with pytest.raises(AttributeError, match="no attribute 'modles'"):
        _ = dfk.modles


def test_type_checkers_see_the_names_that_are_listed():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (known,) = (node for node in tree.body if isinstance(node, ast.If) and "TYPE" in ast.dump(node))
    imported = {alias.name for statement in known.body for alias in statement.names}
    assert imported == set(dir(dfk)) - {"__version__"}


def test_a_module_of_models_can_be_imported_by_its_name():
    assert isinstance(classifier_module, types.ModuleType)
    assert dfk.models.image_classifier is classifier_module.image_classifier


def test_all_that_is_not_code_is_installed_with_it():
    """`py.typed` tells type checkers that dfk's type hints are meant for them."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["dfk"]
    installed = {path for pattern in patterns for path in ROOT.glob(pattern)}
    files = (path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {path for path in files if path.suffix not in (".py", ".md")} <= installed
    assert ROOT / "py.typed" in installed


def test_no_text_names_another_distribution():
    """PyPI's `dfk` is somebody else's."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    texts = [*ROOT.parent.glob("*.md"), *ROOT.parent.glob("configs/*.md"), *ROOT.rglob("*.*")]
    pattern = r"""\bpip\s+install\s+["']?(dfk[\w-]*)"""
    texts = [path for path in texts if path.suffix in (".py", ".md", ".j2")]
    named = [name for path in texts for name in re.findall(pattern, path.read_text())]
    assert len(named) > 10 and {*named} == {project["name"]}


def test_the_commands_print_their_help_without_anything_heavy():
    _run(
        "import sys; from dfk import cli\n"
        "for arguments in (['--help'], ['--version'], *([c, '--help'] for c in cli.COMMANDS)):\n"
        "    assert cli.main(arguments) == 0\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'scipy', 'numpy', 'PIL', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules)"
    )


def test_who_compares_does_not_wait_for_tensorflow():
    _run(
        "import sys; from dfk import cli\n"
        "assert cli.main(['compare', 'gone', 'gone']) == 2\n"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)"
    )


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_help_has_an_example(command, capsys):
    assert cli.main([command, "--help"]) == 0
    assert re.search(rf"Examples?:\n +dfk {command} ", capsys.readouterr().out)
