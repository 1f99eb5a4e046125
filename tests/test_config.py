"""Flags, flag files and what they may not say."""

import dataclasses

import pytest

from dfk import config
from dfk.errors import UsageError


def test_defaults_are_row_2_of_the_study():
    parsed = config.parse(["--data_dir=images"])
    assert (parsed.model, parsed.experiment) == ("deepfakenet", "deepfakenet")
    assert (parsed.image_size, parsed.batch_size) == (128, 32)
    assert parsed.augment == ("flip", "rotate=10", "jitter=0.1")


def test_the_experiment_is_named_after_the_flag_file(tmp_path):
    file = tmp_path / "wide.flags"
    file.write_text("# a comment\n--data_dir=images\n--epochs=3\n--augment=flip\n")
    for arguments in ([f"--flagfile={file}"], ["--flagfile", str(file)]):
        parsed = config.parse([*arguments, "--epochs=4"])
        assert (parsed.experiment, parsed.epochs, parsed.augment) == ("wide", 4, ("flip",))
    assert config.parse([f"--flagfile={file}", "--experiment=mine"]).experiment == "mine"


def test_to_flags_repeats_the_configuration(tmp_path):
    parsed = config.parse(["--data_dir=a b", "--augment=", "--learning_rate=1e-4", "--resume"])
    file = tmp_path / "again.flags"
    file.write_text(parsed.to_flags())
    assert "resume" not in parsed.to_flags()
    assert config.parse([f"--flagfile={file}"]) == dataclasses.replace(parsed, resume=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data_dir is missing"),
        (["--data_dir=x", "--epohcs=3"], "epohcs"),
        (["--data_dir=x", "--epochs=0"], "epochs"),
        (["--data_dir=x", "--epochs=many"], "epochs"),
        (["--data_dir=x", "--model=resnet"], "deepfakenet"),
        (["--data_dir=x", "images"], "unexpected argument 'images'"),
        (["--data_dir=x", "--flagfile=missing.flags"], "missing.flags"),
        (["--data_dir=x", "--experiment=../up"], "must be a name"),
        (["--data_dir=x", "--resume", "--overwrite"], "contradict"),
        (["--data_dir=x", "--image_size=64", "--train_crop=80"], "larger than"),
    ],
)
def test_a_wrong_flag_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        config.parse(arguments)


def test_the_help_explains_every_flag():
    text = config.flags_help()
    for field in dataclasses.fields(config.Config):
        assert field.name in text
