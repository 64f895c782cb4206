"""The shape of a metric over the epochs, whatever its scale."""

from __future__ import annotations

import numpy as np
import pytest

from learnrate._diagnosis.trends import best_by, extrapolate


@pytest.mark.parametrize("foretell", [extrapolate, best_by])
@pytest.mark.parametrize("exponent", [-900, 60, 532, 1000])  # 2^532 is 1e160, whose square is infinite
def test_a_forecast_scales_with_the_losses_however_large_they_are(foretell, exponent):
    times = np.arange(1.0, 21.0)
    losses = 1 + 1 / times + 0.01 * np.sin(7 * times)
    with np.errstate(all="raise"):
        expected = np.ldexp(np.array(foretell(times, losses, 40.0)), exponent)
    with np.errstate(over="raise", invalid="raise"):
        assert np.array_equal(foretell(times, np.ldexp(losses, exponent), 40.0), expected)
