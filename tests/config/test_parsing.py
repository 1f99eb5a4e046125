"""Flags and what they may not say: parsing, flag_files, checks and conditions."""

from pathlib import Path

import pytest

from dfk import config
from dfk.data import augment
from dfk.errors import UsageError

FLAG_FILES = sorted(Path("configs").rglob("*.flags"))


def _parse(*arguments):
    (parsed,) = config.parse(arguments)
    return parsed


def test_defaults_are_row_2_of_the_study():
    parsed = _parse("--data_dir=images")
    assert (parsed.model, parsed.run.experiment) == ("deepfakenet", "deepfakenet")
    assert (parsed.input.image_size, parsed.keras.batch_size) == (128, 32)
    assert parsed.input.augment == ("flip", "rotate=10", "jitter=0.1")


def test_the_experiment_is_named_after_the_flag_file(tmp_path):
    file = tmp_path / "wide.flags"
    file.write_text("# a comment\n--data_dir=images\n--epochs=3\n--augment=flip\n")
    for arguments in ([f"--flagfile={file}"], ["--flagfile", str(file)]):
        parsed = _parse(*arguments, "--epochs=4")
        assert (parsed.run.experiment, parsed.fit.epochs, parsed.input.augment) == (
            "wide",
            4,
            ("flip",),
        )
    assert _parse(f"--flagfile={file}", "--experiment=mine").run.experiment == "mine"


def test_to_flags_repeats_the_configuration(tmp_path):
    parsed = _parse("--data_dir=a b", "--augment=", "--learning_rate=1e-4", "--resume")
    file = tmp_path / "again.flags"
    file.write_text(parsed.to_flags())
    assert "resume" not in parsed.to_flags()
    assert _parse(f"--flagfile={file}") == parsed.with_(resume=False)


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
        (["--data_dir=x", "--model=ensemble"], "--members and --model=ensemble"),
        (["--data_dir=x", "--model=added", "--base=a"], "--model=added needs --base"),
        (["--data_dir=x", "--model=added", "--new_class=b"], "class:folder, as in stylegan:my"),
        (
            ["--data_dir=x", "--model=added", "--base=a", "--new_class=b:c", "--exclude_class=b"],
            "give the new one another name",
        ),
        (["--data_dir=x", "--members=a,b"], "--members and --model=ensemble"),
        (["--data_dir=x", "--dropout=a,b,c"], "--dropout=a,b,c"),
        (["--data_dir=x", "--dropout=0.1,0.2"], "three"),
        (["--data_dir=x", "--input_range=1,0"], "--input_range"),
        (["--data_dir=x", "--seeds=0,one"], "--seeds=0,one: whole numbers"),
        (["--data_dir=x", "--seeds=0,1", "--seed=2"], "--seed beside --seeds"),
        (["--data_dir=x", "--class_weight=4"], "'4' is not class:weight"),
        (["--data_dir=x", "--class_weight=4:-1"], "'4:-1' is not class:weight"),
    ],
)
def test_a_wrong_flag_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        config.parse(arguments)


def test_the_help_explains_every_flag():
    text = config.flags_help()
    for name, (knob, *_) in config.every_knob().items():
        flag = f"--[no]{name}" if knob.is_switch else f"--{name}"
        assert f"\n  {flag}\n" in text


@pytest.fixture
def suite(tmp_path):
    """A suite of two flag files, and the suite's own."""
    (tmp_path / "first.flags").write_text("--model=deepfakenet\n--epochs=9\n--seed=5\n")
    (tmp_path / "second.flags").write_text("--model=svm\n--epochs=9\n")
    members = f"{tmp_path}/first.flags,{tmp_path}/second.flags"
    (tmp_path / "all.flags").write_text(f"--data_dir=images\n--suite={members}\n--epochs=3\n")
    return tmp_path / "all.flags"


def test_flags_beside_a_suite_win_over_its_members(suite):
    first, second = config.parse([f"--flagfile={suite}", "--limit=7"])
    assert (first.run.experiment, second.run.experiment) == ("first", "second")
    assert (first.model, second.model) == ("deepfakenet", "svm")
    assert (first.fit.epochs, first.run.seed, first.data.limit, first.data.data_dir) == (
        3,
        5,
        7,
        "images",
    )
    assert second.run.seed == 0
    assert "suite" not in first.to_flags()


@pytest.mark.parametrize("flag", ["--experiment=x", "--model=svm", "--members=a,b"])
def test_a_suite_refuses_what_means_one_experiment(suite, flag):
    with pytest.raises(UsageError, match="beside --suite"):
        config.parse([f"--flagfile={suite}", flag])


def test_a_suite_of_two_runs_of_one_name_is_refused(suite):
    member = suite.parent / "first.flags"
    with pytest.raises(UsageError, match="share a name"):
        config.parse(["--data_dir=x", f"--suite={member},{member}"])


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda path: path.stem)
def test_every_flag_file_is_read_and_names_its_run(path):
    parsed = config.parse([f"--flagfile={path}", "--data_dir=x"])
    if len(parsed) == 1:
        assert parsed[0].run.experiment == path.stem
    for member in parsed:
        augment.parse(member.input.augment)


def test_the_robust_twin_and_the_ablation_differ_in_their_augmentation_only():
    plain = _parse("--flagfile=configs/deepfakenet.flags", "--data_dir=x")
    robust = _parse("--flagfile=configs/robust.flags", "--data_dir=x")
    changed = {"experiment": "robust", "augment": ("forensic",)}
    assert robust == plain.with_(**changed)
    rows = config.parse(["--flagfile=configs/ablation.flags", "--data_dir=x"])
    assert [row.input.augment for row in rows] == [(name,) for name in augment.PRESETS]
    for row in rows:
        (preset,) = row.input.augment
        short = {"limit": 2000, "epochs": 8, "batch_size": 16, "augment": (preset,)}
        assert row == plain.with_(experiment=f"augment_{preset}", **short)


def test_the_help_names_the_presets_of_augmentation():
    text = " ".join(config.flags_help().split())
    assert all(name in text for name in augment.PRESETS)


def test_class_weights_are_a_dictionary():
    parsed = _parse("--data_dir=x", "--class_weight=0:1.9,a:b:4")
    assert config.class_weights(parsed) == {"0": 1.9, "a:b": 4.0}


def test_seeds_make_one_experiment_several():
    first, second = config.parse(["--data_dir=x", "--experiment=look", "--seeds=0,7"])
    assert (first.run.experiment, first.run.seed, first.family) == ("look-seed0", 0, "look")
    assert (second.run.experiment, second.run.seed, second.family) == ("look-seed7", 7, "look")
    assert "seeds" not in second.to_flags()


def test_an_ensemble_combines_the_members_of_its_own_seed():
    arguments = ["--data_dir=x", "--model=ensemble", "--members=a,other/b", "--seeds=3"]
    (parsed,) = config.parse(arguments)
    assert parsed.options.members == ("a-seed3", "other/b")


@pytest.mark.parametrize(
    ("weights", "of_seed"), [("a", "a-seed3"), ("none", "none"), ("b.h5", "b.h5"), ("x/b", "x/b")]
)
def test_vgg16_goes_on_from_the_run_of_its_own_seed(weights, of_seed):
    flags = ["--data_dir=x", "--model=vgg16", f"--vgg16_weights={weights}", "--seeds=3"]
    assert config.parse(flags)[0].options.vgg16_weights == of_seed


def test_seeds_hold_for_every_member_of_a_suite(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.flags").write_text("--data_dir=x\n")
    suite = f"--suite={tmp_path}/one.flags,{tmp_path}/two.flags"
    names = [parsed.run.experiment for parsed in config.parse([suite, "--seeds=0,1"])]
    assert names == ["one-seed0", "one-seed1", "two-seed0", "two-seed1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=svm", "--augment=jpeg"], "--augment: --model=svm has none"),
        (["--model=residual", "--dropout=0,0,0"], "--dropout: .*it has --filters, --high_pass"),
        (["--model=svm_forensic", "--image_size=64"], "--image_size"),
        (["--high_pass"], "--high_pass: --model=deepfakenet has none"),
        (["--model=ensemble", "--members=a,b", "--epochs=3"], "--epochs"),
        (["--model=vgg16", "--vgg16_weights=none", "--head_epochs=3"], "--head_epochs"),
        (["--optimizer=adam", "--momentum=0.8"], "without --optimizer=sgd"),
        (["--schedule=cosine", "--plateau_patience=3"], "without --schedule=plateau"),
        (["--mixup_alpha=1", "--switch_prob=0.3"], "--switch_prob"),
        (["--teacher_share=0.3"], "without --teacher"),
        (["--teacher_sees=clean"], "without --teacher"),
        (["--teacher=a", "--teacher_sees=clean", "--augment=flip"], "an --augment that degrades"),
    ],
)
def test_a_knob_without_effect_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        config.parse(["--data_dir=x", *arguments])


def test_the_flags_of_an_older_run_name_knobs_of_other_models(tmp_path):
    text = "--data_dir=x\n--model=svm\n--augment=flip\n--epochs=5\n--experiment=old\n"
    (tmp_path / "config.flags").write_text(text)
    parsed = _parse(f"--flagfile={tmp_path}/config.flags")
    assert parsed == config.DEFAULTS.with_(data_dir="x", model="svm", experiment="old")
    assert "augment" not in parsed.to_flags()
    (tmp_path / "mine.flags").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.flags, line 3: --augment"):
        _parse(f"--flagfile={tmp_path}/mine.flags")


def test_beside_a_suite_a_knob_holds_for_the_members_that_have_it(suite):
    first, second = config.parse([f"--flagfile={suite}", "--dropout=0,0,0"])
    assert first.options.dropout == ("0", "0", "0") and "dropout" not in second.to_flags()
    with pytest.raises(UsageError, match="--high_pass: no experiment of the suite has it"):
        config.parse([f"--flagfile={suite}", "--high_pass"])


def _numbers():
    texts = ("inf", "-inf", "nan", str(2**64), "-1", "", "1e999", "9" * 5000)
    for name, (knob, *_) in config.every_knob().items():
        model = next(model for model in config.OPTIONS if name in config.knobs_of(model))
        if "number" in knob.value.allowed and name != "seeds":
            yield from (
                (name, text, model) for text in texts if "rate" not in name or text != texts[3]
            )


@pytest.mark.parametrize(("name", "text", "model"), list(_numbers()))
def test_no_number_is_beyond_its_bounds(name, text, model):
    flags = ["--data_dir=x", f"--model={model}", f"--{name}={text}"]
    flags += ["--members=a,b"] if model == "ensemble" else []
    flags += ["--base=a", "--new_class=b:c"] if model == "added" else []
    flags += ["--mixup_alpha=1", "--cutmix_alpha=1"] if name == "switch_prob" else []
    flags += ["--teacher=a"] if name == "teacher_share" else []
    with pytest.raises(UsageError, match=f"--{name}=") as error:
        config.parse(flags)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0", b"--flagfile=SELF", b"--suite=SELF"])
def test_a_flag_file_that_cannot_be_one_is_refused(tmp_path, content):
    file = tmp_path / "odd.flags"
    file.write_bytes(content.replace(b"SELF", str(file).encode()))
    with pytest.raises(UsageError, match=r"odd\.flags"):
        config.parse([f"--flagfile={file}", "--data_dir=x"])
    with pytest.raises(UsageError, match="folder"):
        config.parse([f"--flagfile={tmp_path}", "--data_dir=x"])


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "-a", ".a", "a" * 250])
def test_a_name_that_no_folder_or_flag_file_can_hold_is_refused(value):
    with pytest.raises(UsageError, match="--experiment="):
        _parse("--data_dir=x", f"--experiment={value}")
