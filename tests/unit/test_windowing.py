"""How much history to learn from is chosen by trial on the rows kept for validation, said, and kept to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from expectations.durations import Duration
from expectations.errors import TrainingError, UseCaseError
from expectations.loading import LoadedUseCase, load_use_case
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.training.judging import judge
from tasks.training.labelled import learnt_by
from tasks.training.learning import chosen_window, learn
from tasks.training.trying import try_challenger
from tasks.training.windowing import WindowChoice, choose_window
from tests.conftest import instant
from tests.unit.test_training import released, rows

Make = Callable[..., Path]
LINEAR, TREES = {"family": "linear"}, {"family": "lightgbm", "rounds": 20, "leaves": 7, "patience": None}


def declared(make: Make, **changes: object) -> LoadedUseCase:
    given = {"model.window": "auto", "model.candidates": [LINEAR], "evaluation.min_rows": 100, **changes}
    return load_use_case(str(make("rentals", changes=given)))


def expanding(spec: UseCase) -> UseCase:
    return spec.model_copy(update={"model": spec.model.model_copy(update={"window": "expanding"})})


def turned(frame: pl.DataFrame, since: str) -> pl.DataFrame:
    """Return rentals that go the other way from an instant on: what was learnt before is wrong."""
    others = pl.when(pl.col("time") >= instant(since)).then(800.0 - pl.col("bikers")).otherwise(pl.col("bikers"))
    return frame.with_columns(bikers=others)


def test_where_the_world_turned_only_what_came_since_is_learnt_from(make_use_case: Make, tmp_path: Path) -> None:
    usecase = declared(make_use_case)
    frame = turned(rows(usecase, "2011-06-01"), "2011-04-01")
    judged = judge(frame, usecase.spec, None)
    assert judged.trained is not None
    chosen = judged.trained.window
    assert chosen is not None
    assert str(chosen.last) != "everything"
    assert chosen.tried[str(chosen.last)] == min(chosen.tried.values()), "rmse: the least"
    assert list(chosen.tried) == ["everything", "1mo", "2w"], "3mo is hardly shorter, a week has too few rows"
    assert list(chosen.rows.values()) == sorted(chosen.rows.values(), reverse=True)
    assert f"window: {chosen.last}, by rmse on the newest rows: everything" in judged.judgement.rationale
    assert asdict(judged.judgement)["windows"] == dict(chosen.tried)
    everything = expanding(usecase.spec)
    assert judge(frame, everything, None).judgement.metrics["rmse"] > judged.judgement.metrics["rmse"]
    bundle, again, _ = released(usecase, frame, tmp_path / "bundle", judged)
    assert again.trained is not None
    assert chosen.last is not None
    kept = frame.filter(pl.col("time") > chosen.last.after(frame["time"].max(), -1))
    assert bundle.learnt_rows == len(kept)
    assert learnt_by(bundle, frame.reverse(), usecase.spec)["time"].equals(kept["time"])


@pytest.mark.slow
def test_the_same_rows_give_the_same_choice_and_candidates_share_it(make_use_case: Make) -> None:
    usecase = declared(make_use_case, **{"model.candidates": [LINEAR, TREES]})
    frame = turned(rows(usecase, "2011-06-01"), "2011-04-01")
    first, again = (learn(frame, usecase.spec) for _ in range(2))
    assert first.window is not None
    assert first.window == again.window
    alone = [chosen_window(frame, usecase.spec, (each,)) for each in usecase.spec.model.candidates]
    for name, value in first.window.tried.items():
        assert value == min(each.tried[name] for each in alone if each is not None)


def test_among_equals_and_where_nothing_else_can_be_learnt_from_it_is_everything(make_use_case: Make) -> None:
    usecase = declared(make_use_case)
    frame = rows(usecase, "2011-06-01")
    metric = "rmse"
    assert choose_window(frame, usecase.spec, metric, lambda *_: 1.0).last is None

    def only_of_many(some: pl.DataFrame, newest: pl.DataFrame) -> float:
        assert some["time"].max() < newest["time"].min()
        if len(some) < 2500:
            raise TrainingError("more rows", f"{len(some)}", "Wait")
        return 1.0

    found = choose_window(frame, usecase.spec, metric, only_of_many)
    assert list(found.tried) == ["everything"]
    few = frame.filter(pl.col("time") < frame["time"].min() + timedelta(days=10))
    assert choose_window(few, usecase.spec, metric, only_of_many).words == ""


@pytest.mark.slow
def test_a_trial_learns_from_as_much_as_a_turn_would(make_use_case: Make, tmp_path: Path) -> None:
    usecase = declared(make_use_case)
    everything = expanding(usecase.spec)
    champion, *_ = released(usecase, rows(usecase, "2011-03-15"), tmp_path / "champion")
    frame, window = (
        turned(rows(usecase, "2011-06-01"), "2011-04-01"),
        Window(instant("2011-05-01"), instant("2011-06-01")),
    )
    tried = [try_challenger(frame, spec, window, champion, "recipe") for spec in (usecase.spec, everything)]
    assert tried[0] is not None
    assert tried[1] is not None
    assert tried[0].gap > tried[1].gap, "a fresh model of the newest rows gains more"


def test_where_rows_came_thinly_of_late_as_many_are_learnt_from_as_were_tried(make_use_case: Make) -> None:
    usecase = declared(make_use_case)
    frame = turned(rows(usecase, "2011-06-01"), "2011-04-01")
    thinly = pl.col("time") < instant("2011-05-20")
    frame = frame.filter(thinly | (pl.col("time").dt.hour() == 12))
    chosen = chosen_window(frame, usecase.spec, usecase.spec.model.candidates)
    assert chosen is not None
    assert chosen.last is not None
    span = frame.filter(pl.col("time") > chosen.last.after(frame["time"].max(), -1))
    tried = chosen.rows[str(chosen.last)]
    assert len(span) < 2 * usecase.spec.evaluation.min_rows <= tried
    assert chosen.of(frame.reverse(), usecase.spec)["time"].to_list() == frame["time"].tail(tried).to_list()
    assert learn(frame, usecase.spec).window == chosen


def test_a_span_that_lost_a_class_or_all_difference_is_not_chosen_nor_learnt_from(make_use_case: Make) -> None:
    usecase = declared(make_use_case)
    frame, border = rows(usecase, "2011-06-01"), instant("2011-05-15")
    late = pl.col("time") >= border
    same = frame.with_columns(bikers=pl.when(late).then(7.0).otherwise(pl.col("bikers")))
    found = choose_window(same, usecase.spec, "rmse", lambda some, _: float(len(some)))
    assert list(found.tried) == ["everything", "3mo", "1mo"], "of two weeks all labels are the same"
    taught = WindowChoice(Duration.parse("2w"), "rmse", {}, {}).of(same, usecase.spec)
    assert taught["time"].min() == same.filter(~late, pl.col("bikers") != 7.0)["time"].max()
    classes = usecase.spec.model_copy(update={"task": "multiclass_classification"})
    hour = pl.col("time").dt.hour() % 3
    three = frame.with_columns(bikers=pl.when(late & (hour == 2)).then(1).otherwise(hour).cast(pl.String))
    found = choose_window(three, classes, "log_loss", lambda some, _: -float(len(some)))
    assert list(found.tried) == ["everything", "3mo", "1mo"], "of two weeks one class is missing"
    taught = WindowChoice(Duration.parse("2w"), "accuracy", {}, {"2w": 336}).of(three, classes)
    assert taught["time"].min() == three.filter(pl.col("bikers") == "2")["time"].max()


def test_without_a_clock_there_is_no_newest_row(make_use_case: Make) -> None:
    with pytest.raises(UseCaseError, match=r"model\.window: auto counts in time; write expanding"):
        declared(make_use_case, clock=None)
