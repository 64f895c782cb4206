from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnrate.curves import LearningCurve
from learnrate.errors import UnknownMetricError

NAN = math.nan
values = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20)


def curve_of(*losses: float) -> LearningCurve:
    return LearningCurve.from_rows([(epoch + 1, {"val_loss": loss}) for epoch, loss in enumerate(losses)])


def test_the_best_row_is_the_earliest_of_the_best_finite_values() -> None:
    curve = curve_of(3.0, 1.0, NAN, 1.0, math.inf, -math.inf)
    assert curve.best("val_loss", "min") == (2.0, 1.0)
    assert curve.best("val_loss", "max") == (1.0, 3.0)


@given(values)
def test_nan_and_infinity_never_win(losses: list[float]) -> None:
    best = curve_of(*losses).best("val_loss", "min")
    finite = [loss for loss in losses if math.isfinite(loss)]
    assert (best is None) == (not finite)
    if best is not None:
        assert best.value == min(finite)


def test_an_unknown_metric_names_those_that_there_are() -> None:
    with pytest.raises(UnknownMetricError, match="val_loss"):
        curve_of(1.0).best("val_acuracy", "max")


def test_a_name_that_a_row_lacks_is_nan_there() -> None:
    curve = LearningCurve.from_rows([(1, {"loss": 1.0}), (2, {"loss": 0.5, "val_loss": 0.7})])
    np.testing.assert_array_equal(curve.values("val_loss"), [NAN, 0.7])


def test_an_empty_curve_has_no_best_and_no_metrics() -> None:
    curve = LearningCurve.from_rows([])
    assert len(curve) == 0
    with pytest.raises(UnknownMetricError, match="none at all"):
        curve.best("loss", "min")
