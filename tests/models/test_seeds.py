"""Seeds for layers differ from each other, repeat, and fit into what backends take."""

import itertools

from dfk.models.seeds import Seeds


def _first(seed, count=100):
    seeds = Seeds(seed)
    return [seeds.next() for _ in range(count)]


def test_layers_have_different_seeds_that_repeat():
    drawn = [_first(seed) for seed in range(5)]
    assert len(set(itertools.chain(*drawn))) == 500
    assert _first(3) == drawn[3]


def test_without_a_seed_each_layer_draws_its_own():
    assert set(_first(None)) == {None}


def test_seeds_have_32_bits():
    assert all(0 <= seed < 2**32 for seed in _first(2**32 - 1))
