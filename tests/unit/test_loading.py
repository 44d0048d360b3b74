"""A use case that cannot work is refused when it is loaded, and the message is enough to mend it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from expectations.errors import UseCaseError, UseCaseNotFoundError
from expectations.loading import SHIPPED, load_use_case, shipped_use_cases

Make = Callable[..., Path]


@pytest.mark.parametrize("name", sorted(shipped_use_cases()))
def test_what_ships_loads(name: str) -> None:
    assert load_use_case(name).name == name


def test_names_and_paths_lead_to_the_same_use_case(make_use_case: Make) -> None:
    folder = make_use_case()
    by_folder, by_file = load_use_case(str(folder)), load_use_case(str(folder / "usecase.yaml"))
    by_name = load_use_case("mine", {"mine": folder})
    assert by_folder.spec == by_file.spec == by_name.spec


def test_a_name_that_leads_nowhere_says_what_there_is() -> None:
    with pytest.raises(UseCaseNotFoundError, match=r"bikes, flights.*did you mean 'flights'"):
        load_use_case("flihgts")


def test_a_replay_is_told_to_be_one() -> None:
    with pytest.raises(UseCaseNotFoundError, match=r"'flights-replay', a replay.*`driftwheel why flights-replay`"):
        load_use_case("flights-replay")
    with pytest.raises(UseCaseNotFoundError, match="one of bikes"):
        load_use_case("nothing-replay")


@pytest.mark.parametrize(
    ("written", "instead", "line_of", "message"),
    [
        ("collection: {lookback", "collection: {lokback", "lokback", "did you mean 'lookback'?"),
        ("task: regression", "task: regresion", "task:", "'binary_classification' or 'regression'"),
        ("  - clip:", "  - clop:", "clop", "did you mean 'clip'?"),
        ("kind: file, path: data/rides", "kind: fiel, path: data/rides", "fiel", "did you mean 'file'?"),
        ("numeric: [temp,", "numeric: [casual,", "numeric: [casual", "casual is known only after the event"),
        ("numeric: [temp,", "numeric: [bikers,", "numeric: [bikers", "bikers is known only after the event"),
        ("metric: r2", "metric: roc_auc", "roc_auc", "regression has no metric 'roc_auc'"),
        ("cooldown: 1mo", "cooldown: 3d", "policy", "shorter than a window"),
        ("violations: 1, of: 1", "violations: 3, of: 2", "policy", "can never be reached"),
        ("min: 0, max: 1}", "min: 2, max: 1}", "max: 1", "min 2.0 is above max 1.0"),
        ("lookback: 3d", "lookback: soon", "soon", "a duration is"),
        ('"1 if time_hour <= 5 else 0"', '"time_hour +* 5"', "+*", "a syntax error"),
        ('"1 if time_hour <= 5 else 0"', '"open(time_hour)"', "open(", "found `open(time_hour)`"),
        ("{metric: r2, min: 0.3}", "{metric: r2}", "{metric: r2}", "exactly one of min and max"),
        (
            "epochs: 40, patience",
            "epochs: 40, loss: cross_entropy, patience",
            "cross_entropy",
            "does not fit regression",
        ),
        ("keys: [time]", "keys: [time]\nkeys: [time]", "keys: [time]", "written twice"),
    ],
)
def test_a_fault_is_named_with_its_line_and_the_way_out(
    tmp_path: Path, written: str, instead: str, line_of: str, message: str
) -> None:
    text = (SHIPPED / "bikes" / "usecase.yaml").read_text()
    assert written in text
    text = text.replace(written, instead)
    (tmp_path / "usecase.yaml").write_text(text)
    (tmp_path / "suite.yaml").write_text("[]")

    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(tmp_path))

    problem = caught.value.problems[0]
    assert message in problem.message
    assert problem.line is not None
    nearby = "\n".join(text.splitlines()[problem.line - 1 : problem.line + 6])
    assert line_of in nearby


def test_all_problems_are_told_at_once(make_use_case: Make) -> None:
    folder = make_use_case(changes={"colour": "red", "monitoring.evry": "1d", "gates.0.metric": 5})
    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(folder))
    assert {problem.path for problem in caught.value.problems} == {"colour", "monitoring.evry", "gates.0.metric"}


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "empty"), ("a: [1", "not YAML"), ("- 1", "Input should be"), ("a: 1\nb", "not YAML")],
)
def test_a_file_that_is_no_use_case_is_an_error_of_ours(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "usecase.yaml").write_text(content)
    (tmp_path / "suite.yaml").write_text("[]")
    with pytest.raises(UseCaseError, match=message):
        load_use_case(str(tmp_path))


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("{}", "a suite is a list"),
        ("- {kwargs: {}}", "needs `type`"),
        ("- {type: x, kwarg: {}}", "unknown key"),
        ("- {type: x, severity: loud}", "one of critical, warning, info"),
    ],
)
def test_a_suite_that_is_none_is_refused(make_use_case: Make, suite: str, message: str) -> None:
    folder = make_use_case()
    (folder / "suite.yaml").write_text(suite)
    with pytest.raises(UseCaseError, match=message):
        load_use_case(str(folder))


def test_the_digest_follows_the_content_and_not_the_place(make_use_case: Make) -> None:
    one, other = make_use_case("one"), make_use_case("other", {"name": "one"})
    first = load_use_case(str(one)).digest
    assert load_use_case(str(other)).digest == first
    (one / "suite.yaml").write_text("[]")
    assert load_use_case(str(one)).digest != first
