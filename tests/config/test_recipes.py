"""The recipes: what their heads say, that they are found from anywhere, and the list of them."""

import json

import pytest

from dfk import cli, config
from dfk.config.recipes import recipes
from dfk.errors import UsageError


def test_every_recipe_says_what_it_is_and_what_it_took():
    assert len(recipes()) >= 30
    for recipe in recipes():
        assert all(recipe), recipe
        assert recipe.score.endswith(" %") and 0 < float(recipe.score[:-2]) < 100
        assert all(part.isdigit() for part in recipe.minutes.split("-"))


@pytest.mark.parametrize("name", [recipe.name for recipe in recipes()])
def test_a_recipe_is_read_from_any_folder(name, tmp_path, monkeypatch):
    before = config.parse([f"--flagfile=configs/{name}.flags", "--data_dir=x"])
    monkeypatch.chdir(tmp_path)
    assert config.parse([f"--recipe={name}", "--data_dir=x"]) == before


def test_a_flag_file_builds_on_a_recipe_and_on_files_beside_it(tmp_path):
    (tmp_path / "mine.flags").write_text("--recipe=residual_wide\n--epochs=3\n")
    (tmp_path / "short.flags").write_text("--flagfile=mine.flags\n--epochs=2\n")
    (tmp_path / "both.flags").write_text("--suite=mine.flags,short.flags\n--data-dir=x\n")
    mine, short = config.parse([f"--flagfile={tmp_path}/both.flags"])
    assert (mine.run.experiment, mine.fit.epochs, short.fit.epochs) == ("mine", 3, 2)
    assert mine.options.filters == short.options.filters == ("48", "96", "192", "384")


def test_what_lies_beside_a_flag_file_goes_before_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.flags").write_text("--flagfile=b.flags\n")
    (tmp_path / "b.flags").write_text("--epochs=7\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["--flagfile=there/a.flags", "--data_dir=x"]
    assert config.parse(arguments)[0].fit.epochs == 7
    (tmp_path / "there" / "b.flags").write_text("--epochs=8\n")
    assert config.parse(arguments)[0].fit.epochs == 8


def test_an_unknown_recipe_is_told_what_it_may_have_meant():
    with pytest.raises(UsageError, match="'residual_wid'; did you mean residual_wide"):
        config.parse(["--recipe=residual_wid", "--data_dir=x"])
    with pytest.raises(UsageError, match=r"'\.\./x'; dfk recipes lists them"):
        config.parse(["--recipe=../x", "--data_dir=x"])


def test_the_list_fits_a_terminal_of_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert {recipe.name for recipe in recipes()} <= {line.split(" ")[0] for line in lines}
    assert cli.main(["recipes", "--format=json"]) == 0
    assert [*map(tuple, map(dict.values, json.loads(capsys.readouterr().out)))] == recipes()
    assert cli.main(["recipes", "--format=csv"]) == 0
    assert capsys.readouterr().out.startswith("name,what,hardware,minutes,score\n")
