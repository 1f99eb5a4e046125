"""Every number that a flag may hold: refused by name, or taken by all that is built with it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfk import config, models
from dfk.data import augment
from dfk.errors import UsageError
from dfk.training import checks, optimizers, phases

NUMERIC = [
    name
    for name, (knob, *_) in config.every_knob().items()
    if any(word in knob.value.allowed for word in ("number", "class:weight"))
]
# What lets a knob have an effect, and keeps what is built small.
BESIDE = {
    "teacher_share": ["--teacher=a"],
    "switch_prob": ["--mixup_alpha=1", "--cutmix_alpha=1"],
    "feature_draws": ["--model=rich"],
    "most_lost": ["--base=a", "--new_class=b:c"],
}
# They change the network itself, which takes a while to build.
BUILT = ("image_size", "dropout", "input_range", "filters", "seed")
EDGES = (0, 1, 2, 10, 180, 100, 0.01, 0.05, 0.5, 0.99, 0.9999, 0.99999, 0.999, 0.001, 1000)
LARGE = (4096, 7071, 10_000, 2**16, 10**6, 10**9, 2**32 - 1, 2**32, 2**64, 1e38, 3e38, 1e39)
NEAR = [edge * by for edge in EDGES for by in (1, 1 - 1e-9, 1 + 1e-9, -1)]
ODD = ["inf", "-inf", "nan", "", " ", "-1", "-0.0", "1e999", "0x1", "1_0", "1.5", "\u0661", "x"]
TEXTS = st.sampled_from([*map(str, NEAR), *map(str, EDGES), *map(str, LARGE), *ODD]) | st.one_of(
    st.floats().map(repr), st.integers(-(2**70), 2**70).map(str)
)


def _lists(name):
    """Texts of a list-valued flag: as many items as it wants, and others."""
    named = {
        "augment": st.tuples(st.sampled_from([*sorted(augment.PRESETS), "jitter", "jpeg"]), TEXTS),
        "class_weight": st.tuples(st.just("a"), TEXTS),
    }
    if name in named:
        sign = "=" if name == "augment" else ":"
        return st.lists(named[name].map(sign.join), max_size=3).map(",".join)
    return st.lists(TEXTS, max_size=4).map(",".join)


def test_these_are_all_of_them():
    assert {"seed", "seeds", "dropout", "filters", "class_weight", "cache_gib"} <= {*NUMERIC}
    assert len(NUMERIC) > 25


@pytest.mark.parametrize("name", [*NUMERIC, "augment"])
def test_a_number_is_refused_by_name_or_taken_by_what_is_built(name):
    (knob, *_) = config.every_knob()[name]
    of = next(model for model in config.OPTIONS if name in config.knobs_of(model))

    @settings(max_examples=40 if name in BUILT else 60, deadline=None, database=None)
    @given(_lists(name) if isinstance(knob.default, tuple) else TEXTS)
    def check(text):
        flags = ["--data_dir=x", f"--model={of}", f"--{name}={text}", *BESIDE.get(name, [])]
        try:
            (first, *_) = config.parse(flags)
        except UsageError as error:
            assert f"--{name}" in str(error) and len(str(error)) < 700
            return
        _build(first, network=name in BUILT)

    check()


def _build(settings, network):
    """All that a training makes of numbers, but for networks of more channels than tests hold."""
    assert config.parse([f"{line}" for line in settings.to_flags().splitlines()]) == [settings]
    (*_, phase) = models.KINDS[settings.model].phases(settings)
    optimizers.make(settings, phase.learning_rate).build([])
    phases._policies(settings, phase, 0), phases.loss_of(settings), phases._mixer(settings)
    augment.parse(settings.input.augment), config.class_weights(settings)
    filters = getattr(settings.options, "filters", ())
    if network and sum(map(int, filters)) < 600:
        try:
            checks.check_sides(settings)
        except UsageError as error:
            assert "--image_size or a --train_crop" in str(error)
            return
        models.build(settings, ("a", "b"), precision="float32")
