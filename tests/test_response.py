from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from learnrate.response import fit_bowl, isotonic

finite = st.floats(-100, 100)


@given(st.lists(finite, max_size=30))
def test_isotonic_is_the_nearest_non_decreasing_sequence(values: list[float]) -> None:
    array = np.array(values)
    fitted = isotonic(array)
    assert (np.diff(fitted) >= -1e-9).all()
    assert fitted.sum() == pytest.approx(array.sum(), abs=1e-6)
    already = np.sort(array)
    np.testing.assert_allclose(isotonic(already), already, atol=1e-9)


@given(st.lists(st.tuples(st.floats(-6, 1), finite), min_size=1, max_size=12), st.floats(0.1, 50), finite)
def test_scaling_and_shifting_losses_moves_no_learning_rate(
    points: list[tuple[float, float]], scale: float, shift: float
) -> None:
    assume(len({x for x, _ in points}) == len(points))
    bottom = min(points, key=lambda point: point[1])[0]
    spread = max(y for _, y in points) - min(y for _, y in points)
    assume(spread == 0 or spread > 1e-3)
    plain = fit_bowl(points, bottom=bottom, untrained=101.0)
    moved = fit_bowl([(x, scale * y + shift) for x, y in points], bottom=bottom, untrained=scale * 101.0 + shift)
    assert plain.good() == pytest.approx(moved.good(), abs=0.01)
    assert plain.cost(bottom - 1) == pytest.approx(moved.cost(bottom - 1), abs=1e-6)


def test_the_good_interval_is_where_the_loss_is_within_one_percent_of_the_way() -> None:
    x = np.linspace(-4, 0, 81)
    bowl = fit_bowl([(float(a), float((a + 2) ** 2)) for a in x], bottom=-2.0, untrained=4.0)
    low, high = bowl.good()
    assert low == pytest.approx(-2.2, abs=0.02)
    assert high == pytest.approx(-1.8, abs=0.02)


def test_noise_widens_the_interval() -> None:
    points = [(a / 10, (a / 10) ** 2) for a in range(-20, 21)]
    quiet = fit_bowl(points, bottom=0.0, untrained=4.0)
    noisy = fit_bowl(points, bottom=0.0, untrained=4.0, noise=0.5)
    assert noisy.good()[0] < quiet.good()[0]
    assert noisy.good()[1] > quiet.good()[1]


def test_beyond_the_cliff_nothing_counts() -> None:
    bowl = fit_bowl([(-3, 1.0), (-2, 0.5), (-0.5, 0.1)], bottom=-2.0, untrained=2.0, cliff=-1.0)
    assert bowl.best == 0.5
    assert math.isinf(bowl.at(-0.5))
    assert math.isinf(bowl.cost(-0.5))


def test_one_point_is_a_bowl_whose_interval_is_that_point() -> None:
    bowl = fit_bowl([(-3.0, 0.1)], bottom=-3.0, untrained=1.0)
    assert bowl.good() == (-3.0, -3.0)
    assert bowl.cost(-3.0) == 0
