"""The versions that answered, the frozen model beside the loop, and the page as one file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.page.alone import page_alone
from flows.page.answered import Answered, worth_of
from flows.page.known import UseCases
from flows.page.rendering import environment
from flows.page.use_case_values import Asked, page_values, read_kept
from flows.page.views import read_view
from flows.page.walked import read_walked
from tasks.stores.ledger import Entry
from tests.pages import START, Home, find, statements, window

LATER = START + timedelta(days=20)


def versions(home: Home, name: str) -> list[Answered]:
    view = read_view(UseCases(home.settings), home.database, name, LATER)
    assert view is not None
    return list(view.versions)


def answered(day: int, version: str) -> dict[str, Any]:
    return window(day, champion=version * 64, version=version)


def test_each_version_has_what_it_reached_while_it_answered_and_whether_it_was_worth_it(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name, "1", day=0)
    home.measure(name, answered(1, "1"), answered(2, "1"))
    home.promote(name, "2", day=3)
    home.measure(name, answered(3, "2"), answered(4, "2"), answered(5, "2"))
    home.tried(name, "2" * 64, 5, back=-0.2, back_variance=0.0025, rows=500, back_rows=900)
    home.tried(name, "1" * 64, 6, back=3.0, back_variance=0.0, rows=900)

    second, first = versions(home, name)

    assert (second.version, second.windows, second.mean, second.until) == ("2", 3, 44.0, None)
    assert second.worth.startswith("yes: the version before would have lost 22.1 % more (± 6.1) on 900 rows")
    assert (first.version, first.windows, first.mean) == ("1", 2, 41.5)
    assert (first.since, first.until) == (START, START + timedelta(days=3))
    assert first.came == "the first one"


def test_a_version_came_because_of_the_decision_that_opened_its_turn(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name, "1")
    with home.database.transaction() as connection:
        turn = home.database.request_turn(connection, name, "decay", START)
        for kind, action, words in (("decision", "retrain", "it rots"), ("deploy", "promoted", "2 answers")):
            evidence = {"version": "2", "bundle": "2" * 64}
            entry = Entry(f"{name}/{kind}", name, START, kind, action, "decay", words, evidence, turn=turn)
            home.database.write(connection, entry)

    second = versions(home, name)[0]

    assert second.came == "it rots"
    assert second.decision is not None
    assert second.worth == "not known: no trial held the version before beside it"


@pytest.mark.parametrize(
    ("back", "word"),
    [([-0.2], "yes"), ([0.2], "no"), ([0.02], "undetermined"), ([-0.2, 0.2], "undetermined")],
)
def test_worth_is_told_beyond_doubt_only(back: list[float], word: str) -> None:
    trials = [{"back": each, "back_variance": 0.0025, "back_rows": 10} for each in back]
    assert worth_of(trials)[0].startswith(f"{word}: ")


def test_rows_of_another_sample_are_not_told_as_those_that_neither_had_seen() -> None:
    known, old = {"back": -0.2, "back_variance": 0.0025, "back_rows": 900, "rows": 50}, {"back": -0.2, "rows": 50}
    assert worth_of([known, known])[0].endswith("on 1,800 rows that neither had seen")
    assert worth_of([old])[0].endswith("(± 0.0) on rows that neither had seen")
    assert worth_of([known, old])[0].endswith(") on rows that neither had seen")


def test_what_a_release_was_worth_and_why_it_came_is_told_however_much_came_since(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name, "1", day=0)
    with home.database.transaction() as connection:
        turn = home.database.request_turn(connection, name, "decay", START)
        for kind, action, words in (("decision", "retrain", "it rots"), ("deploy", "promoted", "2 answers")):
            evidence = {"version": "2", "bundle": "2" * 64}
            entry = Entry(f"{name}/{kind}", name, START, kind, action, "decay", words, evidence, turn=turn)
            home.database.write(connection, entry)
    home.tried(name, "2" * 64, day=1, back=-0.2, back_variance=0.0025, back_rows=900)
    for day in range(2, 102):
        home.tried(name, "2" * 64, day=day)
        home.write(name, "decision", "retrain", "and was refused", day)

    second = versions(home, name)[0]

    assert second.worth.startswith("yes: the version before would have lost 22.1 % more")
    assert second.came == "it rots"


def test_a_version_that_was_rolled_back_to_is_judged_anew_by_the_trials_since(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name, "1", day=0)
    home.promote(name, "2", day=3)
    home.write(name, "deploy", "rolled back", "back to 1", day=5, version="1", bundle="1" * 64)
    told = {"back_variance": 0.0001, "back_rows": 100}
    home.tried(name, "2" * 64, 5, back=0.3, **told)  # by which the rollback was decided, as of the same instant
    home.tried(name, "1" * 64, 6, back=-0.3, **told)

    again, second, first = versions(home, name)

    assert (again.version, first.version) == ("1", "1")
    assert again.worth.startswith("yes: the version before would have lost 35.0 % more")
    assert second.worth.startswith("no: the version before would have lost 25.9 % less")
    assert (first.came, first.worth) == ("the first one", "nothing answered before")


def test_as_many_statements_are_asked_of_one_version_as_of_twelve(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name, "1")
    versions(home, name)  # what is asked once only
    with statements() as one:
        assert len(versions(home, name)) == 1
    for day in range(1, 14):
        home.write(name, "deploy", "promoted", "another", day, version=str(day), bundle=f"{day:064}")
        home.tried(name, f"{day:064}", day + 1, back=-0.3, back_variance=0.0001, back_rows=100 * day)
    with statements() as many:
        found = versions(home, name)
    assert [each.worth.split(" on ")[1].split()[0] for each in found] == [f"{100 * day:,}" for day in range(13, 1, -1)]
    assert len(many) == len(one)


# --- a replay ---------------------------------------------------------------------------------------------------------


def walk(home: Home, name: str) -> None:
    folder = home.settings.folder / "replays"
    folder.mkdir(parents=True, exist_ok=True)
    told = [{"start": window(day)["start"], "static": 70.0, "loop": 60.0} for day in range(3)]
    story = {"metric": "rmse", "windows": told, "mean": {"static": 70.0, "loop": 60.0}, "trials": 3, "requests": 1000}
    (folder / f"{name}.json").write_text(json.dumps(story))


def test_the_page_of_a_replay_as_a_file_needs_nothing_else_and_says_what_frozen_is(home: Home) -> None:
    home.promote("rentals-replay")
    home.measure("rentals-replay", *(answered(day, "1") for day in range(3)))
    find(home, "rentals-replay")
    walk(home, "rentals")

    page = page_alone(home.settings, "rentals-replay", LATER)

    assert page is not None
    for needed in ("<a ", "<script", "<link", "src=", "href=", "http", " ago<"):
        assert needed not in page, needed
    assert "mean rmse 60.000, and 70.000 of the <b>frozen</b> model. That is the first one, never replaced" in page
    assert 'class="frozen"' in page
    assert "As it stood on 2024-01-21 00:00 UTC" in page
    assert "Nobody asks" in page


@pytest.mark.slow
def test_the_page_of_a_replay_as_a_file_has_all_windows_and_says_what_it_leaves_out(home: Home) -> None:
    home.promote("rentals-replay")
    home.measure("rentals-replay", *(answered(day, "1") for day in range(130)))
    for day in range(45):
        home.write("rentals-replay", "decision", "none", "nothing", day)

    page = page_alone(home.settings, "rentals-replay", LATER)

    assert page is not None
    assert '<th scope="row">2024-01-01</th>' in page, "the oldest window"
    assert "windows shown" not in page
    assert "The newest 40 entries; <code>driftwheel why rentals-replay</code> has all." in page
    home.measure("rentals-replay", *(answered(day, "1") for day in range(130, 1201)))
    page = page_alone(home.settings, "rentals-replay", LATER)
    assert page is not None
    assert "The newest 1,200 windows; those before them are left out here" in page
    assert "of the windows shown" in page


def test_what_is_no_replay_or_cannot_be_read_has_no_frozen_model(home: Home) -> None:
    assert page_alone(home.settings, "nobody", LATER) is None
    walk(home, "rentals")
    assert read_walked(home.settings.folder, "rentals") is None
    assert read_walked(home.settings.folder, "others-replay") is None
    (home.settings.folder / "replays" / "rentals.json").write_text("{")
    assert read_walked(home.settings.folder, "rentals-replay") is None


def test_the_file_has_each_part_of_the_page_but_what_servers_say(home: Home) -> None:
    home.promote("rentals-replay")
    home.measure("rentals-replay", *(answered(day, "1") for day in range(3)))
    kept = read_kept(home.settings, UseCases(home.settings), home.database, "rentals-replay", LATER)
    assert kept is not None
    whole = environment().get_template("use_case.html")
    shared = {"alone": False, "addresses": {}, "home": "", "stamp": ""}
    page = whole.render(page_values("rentals-replay", kept, Asked()) | shared)
    alone = page_alone(home.settings, "rentals-replay", LATER)
    assert alone is not None
    parts = [set(re.findall(r'<h2 id="(\w+)"', each)) for each in (page, alone)]
    assert parts[0] - parts[1] == {"service"}
    assert {"metric", "findings", "drift", "data", "versions", "ledger"} <= parts[1]
