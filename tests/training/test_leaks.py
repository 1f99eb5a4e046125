"""What a run is made from may not have learned from what the run sets aside."""

import json
import shutil

import pytest

from dfk import config, models, training
from dfk.errors import UsageError
from dfk.system.files import DamagedError
from dfk.training import checks, leaks
from tests.datasets import write_kaggle

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    counts = {"train": 60, "validation": 12}
    folder = tmp_path_factory.mktemp("data") / "kaggle"
    return write_kaggle(folder, counts=counts, classes=CLASSES)


def _config(data_dir, output_dir, *flags):
    return config.parse([f"--data_dir={data_dir}", f"--output_dir={output_dir}", *flags])[0]


def _trained(data_dir, output_dir, *flags):
    """What a run leaves, but for its training: its model, flags and fingerprint."""
    settings = _config(data_dir, output_dir, "--experiment=mine", *flags)
    settings.run_dir.mkdir(parents=True)
    model = models.DeepFakeNet(classes=3, class_names=CLASSES, filters=(2,), dropout=(0,))
    model.save(settings.run_dir / "model.keras")
    (settings.run_dir / "config.flags").write_text(settings.to_flags())
    fingerprint = training.load_data(settings).fingerprint
    told = {"data": {"fingerprint": fingerprint}}
    (settings.run_dir / "environment.json").write_text(json.dumps(told))
    return settings.run_dir


MADE_FROM = {
    "members": ["--model=ensemble", "--members=mine,mine"],
    "teacher": ["--model=deepfakenet", "--teacher=mine", "--image_size=16"],
}
BY = r"--group_by=(\d\d)$"
DIVIDED = [
    ([BY], [], r"trained with --group_by=(\d\d)$, this run has --group_by=: it may have learned"),
    ([], [BY], r"trained with --group_by=, this run has --group_by=(\d\d)$"),
    (["--limit=30"], [], "trained with --limit=30, this run has --limit=0: it may"),
    (["--limit=30"], ["--limit=40"], "this run has --limit=40"),
    (["--limit=40", BY], ["--limit=30", BY], "this run has --limit=30"),
]
ALIKE = [([BY], [BY]), ([], ["--limit=30"]), (["--limit=40"], ["--limit=30"]), ([], [])]


@pytest.mark.parametrize("flag", MADE_FROM)
@pytest.mark.parametrize(("then", "now", "message"), DIVIDED)
def test_a_run_that_divided_the_images_otherwise_is_refused(
    flag, then, now, message, data_dir, tmp_path
):
    _trained(data_dir, tmp_path, *then)
    settings = _config(data_dir, tmp_path, *MADE_FROM[flag], *now)
    with pytest.raises(UsageError) as refused:
        training.check([settings])
    assert f"--{flag}: {tmp_path}/mine" in str(refused.value) and message in str(refused.value)


@pytest.mark.parametrize(("then", "now"), ALIKE)
def test_a_run_that_set_aside_as_much_is_taken(then, now, data_dir, tmp_path):
    _trained(data_dir, tmp_path, *then)
    (checked,) = training.check([_config(data_dir, tmp_path, *MADE_FROM["members"], *now)])
    checks.check_data(checked, training.load_data(checked))


def test_fewer_images_set_aside_no_other_ones(data_dir, tmp_path):
    """Why a limit may be lower than that of what a run is made from."""
    few, all_of_them = (
        training.load_data(_config(data_dir, tmp_path, f"--limit={limit}")).splits
        for limit in (30, 0)
    )
    assert not {*few["holdout"].ids} & {*all_of_them["train"].ids}
    assert {*all_of_them["holdout"].ids} & {*few["train"].ids}


def test_a_suite_is_refused_before_its_first_member_trains(data_dir, tmp_path):
    (tmp_path / "mine.flags").write_text(f"--model=deepfakenet\n--image_size=16\n{BY}\n")
    (tmp_path / "both.flags").write_text("--model=ensemble\n--members=mine,mine\n")
    suite = f"--suite={tmp_path}/mine.flags,{tmp_path}/both.flags"
    arguments = [suite, f"--data_dir={data_dir}", f"--output_dir={tmp_path}/runs"]
    with pytest.raises(UsageError, match=r"--members: .*mine was trained with --group_by"):
        training.check(config.parse(arguments))
    training.check(config.parse([*arguments, BY]))
    more = ["--model=deepfakenet", "--image_size=16", "--weights=mine"]
    (tmp_path / "both.flags").write_text("\n".join(more))
    with pytest.raises(UsageError, match=r"--weights: .*mine was trained with --group_by"):
        training.check(config.parse(arguments))


def test_images_that_were_moved_are_known_by_their_fingerprint(data_dir, tmp_path):
    _trained(data_dir, tmp_path, BY)
    moved = tmp_path / "moved"
    shutil.copytree(data_dir, moved)
    (checked,) = training.check([_config(moved, tmp_path, *MADE_FROM["members"])])
    with pytest.raises(UsageError, match="this run has --group_by=:"):
        checks.check_data(checked, training.load_data(checked))
    next((moved / "train").iterdir()).unlink()
    data = training.load_data(checked.with_(on_bad_image="skip"))
    checks.check_data(checked, data)  # Other images: there is nothing to tell.


def test_flags_that_cannot_be_read_are_named(data_dir, tmp_path):
    run = _trained(data_dir, tmp_path)
    settings = _config(data_dir, tmp_path, *MADE_FROM["members"])
    (run / "config.flags").write_text("--limit=many\n")
    with pytest.raises(DamagedError, match=r"config\.flags is damaged"):
        leaks.check(settings.with_runs(lambda name: f"{tmp_path}/{name}"), {})
    (run / "config.flags").unlink()
    leaks.check(settings.with_runs(lambda name: f"{tmp_path}/{name}"), {})
