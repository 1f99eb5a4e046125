"""`import dfk` is cheap, and its layers are known to Keras in whichever order the two come."""

import re
import subprocess
import sys

import pytest

from dfk import cli

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


def test_submodules_load_when_they_are_asked_for():
    _run("import dfk; assert dfk.models.DeepFakeNet(classes=2).count_params() > 0")


def test_the_commands_print_their_help_without_anything_heavy():
    _run(
        "import sys; from dfk import cli\n"
        "for arguments in (['--help'], ['--version'], *([c, '--help'] for c in cli.COMMANDS)):\n"
        "    assert cli.main(arguments) == 0\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'scipy', 'numpy', 'PIL', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules)"
    )


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_help_has_an_example(command, capsys):
    assert cli.main([command, "--help"]) == 0
    assert re.search(rf"Examples?:\n +dfk {command} ", capsys.readouterr().out)
