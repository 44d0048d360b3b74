"""The policy is a function: what it is given, what it says."""

import pytest

from expectations.durations import Duration
from expectations.production import Policy
from expectations.windows import Window, window_of
from tasks.monitoring.policy import Seen, Situation, decide
from tests.conftest import instant

POLICY = Policy(violations=2, of=3, cooldown=Duration.parse("14d"), min_rows=100)
NOW = instant("2013-06-01")
GOOD, BAD, UNKNOWN = Seen("good", 500), Seen("violated", 500), Seen("unknown", 3)
DRIFTED = Seen("good", 500, ("temp",))


def situation(**changes: object) -> Situation:
    facts = {"as_of": NOW, "last_turn": instant("2013-03-01"), "new_labelled": 1000, "open_turn": False, "held": ()}
    return Situation(**{**facts, **changes})


@pytest.mark.parametrize(
    ("history", "facts", "action", "cause"),
    [
        ([BAD, BAD], {}, "retrain", "decay"),
        ([BAD, GOOD, BAD], {}, "retrain", "decay"),
        ([BAD, BAD], {"held": ("rows failed",)}, "hold", "quality"),
        ([], {}, "keep", "unknown"),
        ([BAD], {}, "warn", "decay"),
        ([BAD, GOOD, GOOD, BAD], {}, "warn", "decay"),
        ([BAD, BAD, GOOD], {}, "keep", "none"),
        ([BAD, BAD, UNKNOWN], {}, "keep", "unknown"),
        ([BAD, BAD], {"last_turn": instant("2013-05-25")}, "warn", "decay"),
        ([BAD, BAD], {"last_turn": instant("2013-05-18")}, "retrain", "decay"),
        ([BAD, BAD], {"last_turn": None}, "retrain", "decay"),
        ([BAD, BAD], {"new_labelled": 99}, "warn", "decay"),
        ([BAD, BAD], {"open_turn": True}, "warn", "decay"),
        ([GOOD, DRIFTED], {}, "warn", "drift"),
        ([Seen("unknown", 500, ("temp",))], {}, "warn", "unknown"),
    ],
)
def test_decisions(history: list[Seen], facts: dict[str, object], action: str, cause: str) -> None:
    decision = decide(history, POLICY, situation(**facts))
    assert (decision.action, decision.cause) == (action, cause)
    assert decision.summary


def test_windows_are_half_open() -> None:
    month = Duration.parse("1mo")
    february = Window(instant("2013-02-01"), instant("2013-03-01"))
    assert window_of(month, instant("2013-02-01")) == february
    assert window_of(month, instant("2013-02-28T23:59:59")) == february
    assert window_of(month, instant("2013-03-01")).start == february.end


def test_a_window_is_ripe_when_its_last_label_may_be_known() -> None:
    window = Window(instant("2013-01-01"), instant("2013-02-01"))
    assert not window.ripe(Duration.parse("1d"), instant("2013-02-01T23:00:00"))
    assert window.ripe(Duration.parse("1d"), instant("2013-02-02"))
