"""Which columns of windows are watched is decided in one place: inputs as declared, predictions and label always."""

from types import SimpleNamespace

import polars as pl
import pytest

from tasks.evaluation.sketches import references_to_dict, sketch
from tasks.monitoring.watched_columns import is_watched, only_watched, watched_kinds

INPUTS = sketch(pl.DataFrame({"temp": [1.0, 2.0] * 20, "note": [f"a longer text, number {at}" for at in range(40)]}))
PREDICTED = sketch(pl.DataFrame({"prediction": [0.1, 0.2] * 20}))
BUNDLE = SimpleNamespace(
    inputs=("temp", "note"), reference=lambda: references_to_dict([INPUTS, PREDICTED, sketch(LABEL.to_frame())])
)
LABEL = pl.Series("bikers", [1.0, 2.0] * 20)


def spec(columns: object) -> SimpleNamespace:
    return SimpleNamespace(monitoring=SimpleNamespace(drift=SimpleNamespace(columns=columns)))


@pytest.mark.parametrize(
    ("columns", "inputs"),
    [("all", {*INPUTS.columns}), (("temp",), {"temp"}), (("note",), {*INPUTS.columns} - {"temp"})],
)
def test_all_that_ask_agree_on_what_is_watched(columns: object, inputs: set[str]) -> None:
    assert len(INPUTS.columns) > 2, "of texts that are all different views are watched, too"
    rules = spec(columns)
    assert {*only_watched(INPUTS, BUNDLE, rules).columns} == inputs  # type: ignore[arg-type] # what is asked of each
    assert only_watched(PREDICTED, BUNDLE, rules) is PREDICTED  # type: ignore[arg-type]
    assert {*watched_kinds(BUNDLE, rules)} == {*inputs, "prediction", "bikers"}  # type: ignore[arg-type]
    named = {name for name in ("temp", "note", "prediction") if is_watched(name, BUNDLE, rules)}  # type: ignore[arg-type]
    assert named == {"prediction", *(("temp", "note") if columns == "all" else columns)}  # type: ignore[misc]
