"""What is refused before work, and how often it is asked."""

import pytest

from dfk import cli, config, training
from dfk.errors import UsageError
from dfk.training import checks
from tests.datasets import write_kaggle


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
