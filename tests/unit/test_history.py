"""Numbers from earlier rows through the lake, the bundle and the service: the same to the last bit, or counted."""

import asyncio
import gc
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
import yaml

from expectations.errors import StateError, TrainingError, TurnTakenError, UseCaseError
from expectations.history import HistoryColumn
from expectations.loading import LoadedUseCase, load_use_case
from flows import collect, replay
from flows.replay import looks_back
from flows.stage import FlowResult
from infra.serving import explainer, explanations
from infra.serving.explainer import Explainer
from infra.serving.looking_back import KeptHistory, RowHistory
from infra.serving.models import Model
from infra.serving.mount import Pending
from infra.serving.mounts import Mounts
from infra.settings import Settings
from tasks.bundles import history_state
from tasks.bundles.champion import refuse_redefined
from tasks.bundles.history_state import keep_history
from tasks.bundles.row_frames import jsonable
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.deployment.scoring import predict_frame
from tasks.preprocessing.history.earlier_rows import EarlierRows, key_of
from tasks.preprocessing.history.series import EntitySeries, entity_codes, series_of, ticks_of
from tasks.preprocessing.history.state import FORMAT, from_bytes, mark_of, to_bytes
from tasks.stores.desired_state import Served
from tasks.stores.known import Known
from tasks.stores.locking import alone
from tasks.stores.places import Job, Places
from tasks.stores.whole_files import replace_file
from tasks.training.packing import training_rows
from tests.conftest import at_home
from tests.unit.test_training import released

HISTORY: dict[str, Any] = {
    "newest": {"of": "bikers", "rows": 1},
    "yesterday": {"of": "bikers", "lag": "1d"},
    "usual": {"of": "bikers", "by": ["weathersit"], "window": "7d", "as": "mean"},
    "warmth": {"of": "temp", "by": ["workingday", "holiday"], "window": "36h", "as": "std", "known_after": "2h"},
}
NEVER_CHANGED: dict[str, Any] = {"cleaning": [{"drop_duplicates": "keys"}], "personal": {"weathersit": "hash"}}
FEATURES = [{"numeric": [*HISTORY, "temp", "hum"]}, {"calendar": "time", "parts": ["hour"]}]
BUSY = {"label.column": "busy", "label.expression": "bikers * 1.0"}
NOW = datetime(2011, 3, 1, tzinfo=UTC)


class Learnt:
    """A use case with a lake, a bundle and the folder of releases that its service reads."""

    def __init__(self, usecase: LoadedUseCase, folder: Path) -> None:
        self.job = Job(usecase, Settings().places(), NOW)
        collect_sources(usecase, self.job.lake, NOW + timedelta(days=4), self.job.places.secret)
        assert not clean_batches(usecase, self.job.lake).held
        self.rows = training_rows(self.job.known.labelled())
        self.bundle, _, _ = released(usecase, self.rows, folder / "bundle")
        releases = self.job.releases
        releases.keep_secret(self.job.places.secret)
        releases.add(self.job.name, self.bundle.folder, self.bundle.digest)
        releases.set_desired(self.job.name, champion=Served(bundle=self.bundle.digest, version="1"))

    def rows_at(self, as_of: datetime, since: datetime) -> pl.DataFrame:
        """Raw rows, as they are known later."""
        return Known(self.job.lake, self.job.usecase.spec, as_of).rows("raw", since=since)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learnt]:
    from tests.conftest import make_use_case

    folder = tmp_path_factory.mktemp("learnt")
    with pytest.MonkeyPatch.context() as patch:
        at_home(folder, patch)
        changes = {"history": HISTORY, "features": FEATURES, **NEVER_CHANGED}
        made = make_use_case.__wrapped__(folder)("lagged", changes)
        suite = (made / "suite.yaml").read_text().splitlines()
        (made / "suite.yaml").write_text("\n".join(line for line in suite if "weathersit, value_set" not in line))
        yield Learnt(load_use_case(str(made)), folder)


def serve(mounts: Mounts, name: str) -> Model | None:
    """Bring a service to what is desired, and return its champion."""
    try:
        asyncio.run(mounts.reconcile())
    finally:
        gc.unfreeze()
    return mounts.by_name[name].champion


def ask(model: Model, rows: pl.DataFrame, **sent: Any) -> pl.DataFrame:
    """Return what the service reads of a request about some rows, sent as a client would before hashing."""
    records = [{**row, **sent} for row in jsonable(rows)]
    read, _ = model.reader.read(json.dumps({"dataframe_records": records}).encode())
    return pl.DataFrame([{name: getattr(row, field) for name, field in model.reader.fields.items()} for row in read])


@pytest.fixture
def unhashed(learnt: Learnt) -> pl.DataFrame:
    """Rows of four days after the model as a client sends them."""
    from tasks.collection.joining import join_sources

    usecase = learnt.job.usecase
    open_ = usecase.spec.model_copy(update={"personal": {}})
    plain = LoadedUseCase(open_, usecase.folder, usecase.suite, usecase.digest)
    rows = join_sources(plain, since=None, until=NOW + timedelta(days=4), secret=b"").rows.sort("time")
    return rows.filter(pl.col("time") >= NOW).select(column.name for column in learnt.bundle.manifest.asked)


def test_training_rows_get_what_could_be_known_at_their_time(learnt: Learnt) -> None:
    rows = learnt.rows
    row = rows.filter(pl.col("time") == datetime(2011, 2, 20, 12, tzinfo=UTC)).row(0, named=True)
    before = rows.filter(pl.col("time") <= row["time"] - timedelta(hours=1))
    assert row["newest"] == before["bikers"][-1], "a label is known an hour after its row"
    assert row["yesterday"] == rows.filter(pl.col("time") <= row["time"] - timedelta(days=1))["bikers"][-1]
    alike = before.filter(
        (pl.col("weathersit") == row["weathersit"]) & (pl.col("time") > row["time"] - timedelta(days=7, hours=1))
    )
    assert row["usual"] == pytest.approx(alike["bikers"].mean(), rel=1e-12)
    assert rows["newest"][0] is None


def test_the_bundle_says_which_of_its_columns_requests_carry(learnt: Learnt) -> None:
    manifest = learnt.bundle.manifest
    assert {column.name for column in manifest.columns if column.role == "history"} == {*HISTORY}
    assert [column.name for column in manifest.asked if column.role == "input"] == [
        "temp",
        "hum",
        "time",
        "weathersit",
        "workingday",
        "holiday",
    ], "and what tells entities is asked for, too"
    assert manifest.history["newest"].known_after.seconds == 3600, "as long as its label takes"
    assert learnt.bundle.manifest == type(manifest).model_validate_json(manifest.model_dump_json())


@pytest.mark.slow
def test_requests_see_bit_by_bit_what_training_rows_do(learnt: Learnt, unhashed: pl.DataFrame) -> None:
    """Four days after its training, told of each row as it is known; who is asked about is hashed on the way."""
    later = NOW + timedelta(days=4)
    mark = keep_history(learnt.job.moved(later), since=NOW)
    model = serve(mounts := Mounts(learnt.job.releases), "lagged")
    assert model is not None
    assert mounts.by_name["lagged"].describe()["history"] == mark
    known = learnt.rows_at(later, NOW)
    assert len(known) == len(unhashed) > 90
    served = ask(model, unhashed)
    for name in HISTORY:
        assert served[name].null_count() < 40, name
        assert served[name].cast(pl.Float64).equals(known[name]), name
    assert model.reader.history.counts.get("behind", 0) == 0
    prepared = learnt.bundle.program.transform(known)
    assert model.executor.matrix(model.reader.read(_body(unhashed))[0]).tobytes() == prepared.tobytes()


def _body(rows: pl.DataFrame) -> bytes:
    return json.dumps({"dataframe_records": jsonable(rows)}).encode()


@pytest.mark.slow
def test_a_batch_is_predicted_as_requests_are(learnt: Learnt, unhashed: pl.DataFrame) -> None:
    later = learnt.job.moved(NOW + timedelta(days=4))
    keep_history(later, since=NOW)
    model = serve(Mounts(later.releases), "lagged")
    assert model is not None
    earlier = later.known.earlier(learnt.bundle.manifest.history)
    found = predict_frame(learnt.bundle, unhashed, secret=later.places.secret, earlier=earlier)
    assert found["prediction"].to_list() == model.predict(model.reader.read(_body(unhashed))[0])


def test_what_a_label_is_computed_from_is_known_no_sooner_than_it(make_use_case: Callable[..., Path]) -> None:
    changes = {
        "label": {"column": "busy", "expression": "temp * 2", "available_after": "2d"},
        "features": [{"numeric": ["x", "y", "hum"]}],
        "history": {"x": {"of": "temp", "rows": 1}, "y": {"of": "casual", "lag": "3d"}, "z": {"of": "hum", "rows": 1}},
    }
    looked_back = load_use_case(str(make_use_case(changes=changes))).spec.looked_back
    assert [column.known_after.seconds for column in looked_back.values()] == [2 * 86400, 2 * 86400, 0]


@pytest.mark.slow
def test_what_a_client_sends_in_their_place_is_not_taken(learnt: Learnt, unhashed: pl.DataFrame) -> None:
    keep_history(learnt.job.moved(NOW + timedelta(days=4)), since=NOW)
    model = serve(Mounts(learnt.job.releases), "lagged")
    assert model is not None
    expected = ask(model, unhashed.head(3))
    assert ask(model, unhashed.head(3), newest=1e9, usual="odd").equals(expected)
    records = [{"newest": 1e9, **row} for row in jsonable(unhashed.head(3))]
    split = {"columns": list(records[0]), "data": [list(each.values()) for each in records]}
    for body in ({"dataframe_split": split}, {"inputs": {name: [row[name] for row in records] for name in records[0]}}):
        rows, _ = model.reader.read(json.dumps(body).encode())
        assert [row.__getattribute__(model.reader.fields["newest"]) for row in rows] == expected["newest"].to_list()


@pytest.mark.slow
def test_what_is_not_collected_yet_or_was_never_seen_is_counted(learnt: Learnt, unhashed: pl.DataFrame) -> None:
    keep_history(learnt.job)
    model = serve(Mounts(learnt.job.releases), "lagged")
    assert model is not None
    counts = model.reader.history.counts
    first, last = unhashed.head(1), unhashed.tail(1)
    ask(model, first)
    assert counts == {}
    assert ask(model, last)["newest"].item() == learnt.rows["bikers"][-1], "the newest that is known"
    assert counts == {"behind": 4}
    assert ask(model, first, weathersit="hail")["usual"].item() is None
    assert counts == {"behind": 4, "unseen": 1}
    assert ask(model, first, time="2011-01-20T00:00:00Z")["newest"].item() is None
    assert counts == {"behind": 4, "unseen": 1, "before": 4}


@pytest.mark.slow
def test_what_is_not_collected_yet_is_counted_once_of_a_use_case_whoever_reads_the_request_again(
    learnt: Learnt, unhashed: pl.DataFrame
) -> None:
    keep_history(learnt.job)
    mounts, desired = Mounts(learnt.job.releases), learnt.job.releases.desired("lagged")
    champion = serve(mounts, "lagged")
    mount, last = mounts.by_name["lagged"], unhashed.tail(1)
    assert champion is not None
    assert desired is not None
    candidate = mounts._load(mount, Served(bundle=learnt.bundle.digest, version="2"), desired)

    def swap(champion: Model, candidate: Model | None) -> None:
        mount.pending = Pending(
            mount.generation + 1, champion, candidate, "shadow", 0.0, watched=True, stands_in=False, at=0.0
        )
        mount.adopt()
        gc.unfreeze()

    swap(champion, candidate)
    for model in (champion, candidate):
        ask(model, last)
    assert mount.counters.models[learnt.bundle.digest].history == {"behind": 8}, "both are of one bundle"
    assert mount.counters.behind == 4
    swap(candidate, None)
    ask(champion, last)  # of a request that began before
    assert mount.counters.behind == 8
    ask(candidate, last)
    assert mount.counters.behind == 12
    swap(candidate, champion)
    ask(champion, last)
    mount.counters.forget(0, set())
    assert mount.counters.to_dict()["behind"] == 12, "and stays when a bundle is forgotten: it never falls"


@pytest.mark.slow
def test_the_service_reads_the_state_again_when_it_changed(
    learnt: Learnt, unhashed: pl.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    keep_history(learnt.job)
    mounts = Mounts(learnt.job.releases)
    model, last = serve(mounts, "lagged"), unhashed.tail(1)
    assert model is not None
    before = ask(model, last)
    keep_history(learnt.job.moved(NOW + timedelta(days=4)))
    assert serve(mounts, "lagged") is model
    after = ask(model, last)
    assert after["newest"].item() != before["newest"].item()
    path = learnt.job.releases.history("lagged")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    serve(mounts, "lagged")
    assert ask(model, last).equals(after), "what was read before stays"
    assert "Collect again" in caplog.text


@pytest.mark.slow
def test_no_model_answers_before_its_history_is_there(learnt: Learnt) -> None:
    path = learnt.job.releases.history("lagged")
    path.unlink(missing_ok=True)
    mounts = Mounts(learnt.job.releases)
    assert serve(mounts, "lagged") is None
    assert "no earlier rows of newest" in mounts.by_name["lagged"].trouble
    keep_history(learnt.job)
    mounts.by_name["lagged"].again_at = 0.0
    assert serve(mounts, "lagged") is not None


def without(path: Path, of: str) -> None:
    """Write a state of history anew, without the earlier values of a column."""
    replace_file(path, to_bytes({key: each for key, each in from_bytes(path.read_bytes()).items() if key[0] != of}))


@pytest.mark.slow
def test_a_damaged_state_is_tried_again_until_it_is_whole(learnt: Learnt, unhashed: pl.DataFrame) -> None:
    path = learnt.job.releases.history("lagged")
    keep_history(learnt.job)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    mounts = Mounts(learnt.job.releases)
    assert serve(mounts, "lagged") is None
    mount = mounts.by_name["lagged"]
    assert not mount.refused
    assert "another content" in mount.trouble
    keep_history(learnt.job)
    mount.again_at = 0.0
    model = serve(mounts, "lagged")
    assert model is not None
    assert ask(model, unhashed.head(1))["newest"].item() is not None


@pytest.mark.slow
def test_a_state_that_lacks_what_is_looked_back_at_is_not_taken(
    learnt: Learnt, unhashed: pl.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    path = learnt.job.releases.history("lagged")
    keep_history(learnt.job)
    mounts = Mounts(learnt.job.releases)
    model = serve(mounts, "lagged")
    assert model is not None
    before = ask(model, unhashed.head(2))
    without(path, "temp")
    assert serve(mounts, "lagged") is model
    assert ask(model, unhashed.head(2)).equals(before)
    assert "the earlier rows that warmth look back at" in caplog.text
    keep_history(learnt.job.moved(NOW + timedelta(days=4)))
    serve(mounts, "lagged")
    assert mounts.by_name["lagged"].history is model.reader.history.kept
    assert not model.reader.history.kept.is_stale(), "a whole one is"


def test_a_state_that_was_refused_is_read_again_once_it_or_what_is_needed_changes(
    learnt: Learnt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read and hash it at each look would take a good part of a second of each worker."""
    keep_history(learnt.job)
    kept, reads = KeptHistory(learnt.job.releases.history("lagged")), list[Path]()
    kept.read()
    kept.require(learnt.bundle.manifest.history)
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read_bytes(path))
    whole = read_bytes(kept.path)
    for damaged in (whole[:-1] + b"x", to_bytes({key: each for key, each in kept.series.items() if key[0] != "temp"})):
        reads.clear()
        replace_file(kept.path, damaged)
        kept.refresh()
        kept.refresh()
        assert len(reads) == 1
        assert kept.is_stale()
    with pytest.raises(StateError):
        kept.read()
    kept.needed = {key: name for key, name in kept.needed.items() if key[0] != "temp"}
    kept.refresh()
    assert not kept.is_stale(), "nothing needs any more what is lacking"

    def away(path: Path) -> bytes:
        reads.append(path)
        raise OSError("a disk that is away")

    monkeypatch.setattr(Path, "read_bytes", away)
    replace_file(kept.path, whole)
    reads.clear()
    kept.refresh()
    kept.refresh()
    assert len(reads) == 2, "a disk may be there again at any time"
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    kept.refresh()
    assert not kept.is_stale()


@pytest.mark.slow
def test_who_explains_needs_all_that_is_looked_back_at(learnt: Learnt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "bound_memory", lambda _: None)
    monkeypatch.setattr(explainer, "MANY_SECONDS", 0.0)
    path, asking = learnt.job.releases.history("lagged"), Explainer()
    keep_history(learnt.job)
    model = serve(Mounts(learnt.job.releases), "lagged")
    assert model is not None
    with monkeypatch.context() as patch:
        questions = list[bytes]()
        patch.setattr(asking.helper, "is_running", lambda: True)
        patch.setattr(asking.helper, "tell", questions.append)
        assert not asking.is_at_hand(model), "it is told to load it"
    asked = msgspec.json.decode(questions[0], type=explanations.ExplanationRequest)
    assert explanations.Explanations().reply(asked, b"") == (explanations.DONE, b"")
    without(path, "temp")
    status, said = explanations.Explanations().reply(asked, b"")
    assert (status, b"StorageError" in said) == (explanations.FAILED, True)


def test_who_explains_reads_a_state_once_for_all_models_and_with_as_much_memory_as_it_takes(
    learnt: Learnt, unhashed: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, path, bundle = list[object](), learnt.job.releases.history("lagged"), learnt.bundle
    read = KeptHistory.read
    monkeypatch.setattr(explanations, "bound_memory", events.append)
    monkeypatch.setattr(KeptHistory, "read", lambda kept: (events.append(kept.path), read(kept)))
    fewer = {name: column for name, column in bundle.manifest.history.items() if name != "warmth"}
    narrow = replace(bundle, manifest=bundle.manifest.model_copy(update={"history": fewer}))
    monkeypatch.setattr(explanations, "load_bundle", lambda _, digest: narrow if digest == "narrow" else bundle)
    found, body = explanations.Explanations(), _body(unhashed.head(1))

    def ask_about(digest: str, size: int | None) -> int:
        events.clear()
        secret = learnt.job.places.secret
        asked = explanations.ExplanationRequest("", digest, "1", 10, secret, size=size, history=str(path))
        return found.reply(asked, body)[0]

    keep_history(learnt.job)
    assert ask_about("wide", None) == explanations.DONE
    assert events == [None, path, explanations.MEMORY]
    assert ask_about("narrow", None) == explanations.DONE
    assert events == [None, explanations.MEMORY], "one copy for both"
    keep_history(learnt.job.moved(NOW + timedelta(days=4)))
    assert ask_about("wide", len(body)) == explanations.DONE
    assert events == [None, path, explanations.MEMORY]
    assert ask_about("narrow", len(body)) == explanations.DONE
    assert events == []
    without(path, "temp")
    assert ask_about("wide", len(body)) == explanations.DONE, "what was read before stays"
    assert ask_about("narrow", len(body)) == explanations.DONE
    assert events == [None, path, explanations.MEMORY]
    assert ask_about("wide", len(body)) == explanations.FAILED, "the worker explains what it looks back into itself"


def test_numbers_of_a_state_begin_where_they_need_no_copy_whatever_stands_before_them() -> None:
    """Each look-up of one row would copy the whole column."""
    rows = pl.DataFrame({"at": [NOW, NOW], "who": ["a", "b"], "x": [1.0, 2.0]}).with_columns(
        pl.col("at").dt.cast_time_unit("us")
    )
    for length in range(1, 10):
        series = series_of(rows, "x", ("who",), "at")
        (found,) = from_bytes(to_bytes({("x" * length, ("who",)): series})).values()
        assert found.times.flags.aligned, length
        assert found.values.flags.aligned, length
        assert found.entities == series.entities
        assert found.times.tolist() == series.times.tolist()


def test_a_column_that_identifies_entities_may_have_any_name() -> None:
    codes, names = entity_codes(pl.DataFrame({"_entity": ["b", None, "a", "b"]}), ["_entity"])
    assert (codes.tolist(), names) == ([0, -1, 1, 0], ["b", "a"])


def test_a_state_names_entities_as_their_values_are() -> None:
    """Whoever looks for a person in files finds each value, whole."""
    rows = pl.DataFrame({"at": [NOW], "who": ["Zoë"], "where": ["Zürich"], "x": [1.0]})
    series = series_of(rows.with_columns(pl.col("at").dt.cast_time_unit("us")), "x", ("who", "where"), "at")
    content = to_bytes({("x", ("who", "where")): replace(series, until=7)})
    assert '["Zoë", "Zürich"]'.encode() in content
    (found,) = from_bytes(content).values()
    assert found.entities == series.entities == {"Zoë\0Zürich": (0, 1)}
    assert (found.until, found.values.tolist()) == (7, [1.0])


@pytest.mark.parametrize(
    "header", [{}, [], "x", {"format": 99}, {"format": FORMAT}, {"format": FORMAT, "series": [{"of": "x"}]}]
)
def test_a_state_of_another_format_is_refused_as_a_damaged_one_is(header: object) -> None:
    said = json.dumps(header).encode()
    rest = len(said).to_bytes(8, "little") + said
    with pytest.raises(StateError, match="Collect again"):
        from_bytes(hashlib.sha256(rest).digest() + rest)


def test_the_state_is_bounded(learnt: Learnt) -> None:
    path = learnt.job.releases.history("lagged")
    keep_history(learnt.job)
    rows = path.stat().st_size / 16
    assert rows < len(learnt.rows), "two days and what they look back at, of two months"


def test_who_keeps_history_reads_and_writes_alone(learnt: Learnt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else rows that were read before somebody was forgotten could be written after it."""
    lock, written = Path(learnt.job.lake.root) / "lagged" / ".history", history_state.replace_file

    def write(path: Path, content: bytes) -> None:
        with pytest.raises(TurnTakenError), alone(lock, "another", wait=False):
            pass
        written(path, content)

    learnt.job.releases.history("lagged").unlink(missing_ok=True)
    monkeypatch.setattr(history_state, "replace_file", write)
    assert keep_history(learnt.job)
    with alone(lock, "another", wait=False):
        pass


def test_a_state_that_says_the_same_stays_as_it_is_and_a_damaged_one_does_not(learnt: Learnt) -> None:
    """Each worker reads a file again that was replaced."""
    mark, path = keep_history(learnt.job), learnt.job.releases.history("lagged")
    written, content = path.stat(), path.read_bytes()
    assert keep_history(learnt.job) == mark
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    path.write_bytes(content[:-1] + b"x")
    assert keep_history(learnt.job) == mark
    assert path.read_bytes() == content


def test_of_windows_no_more_is_read_for_the_state_than_they_hold(
    learnt: Learnt, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up, read = Known.earlier, list[EarlierRows]()

    def earlier(known: Known, *arguments: Any, **named: Any) -> EarlierRows:
        read.append(looked_up(known, *arguments, **named))
        return read[-1]

    monkeypatch.setattr(Known, "earlier", earlier)
    windows = [column for column in learnt.bundle.manifest.history.values() if column.window is not None]
    path = learnt.job.releases.history("lagged")
    for columns in (windows, [*learnt.bundle.manifest.history.values()]):
        monkeypatch.setattr(history_state, "_columns", lambda *_, columns=columns: columns)
        keep_history(learnt.job, since=NOW - timedelta(days=3))
        whole = looked_up(learnt.job.known, {str(place): each for place, each in enumerate(columns)}).series
        for key, found in from_bytes(path.read_bytes()).items():
            mine = [column for column in columns if key_of(column) == key]
            back, most = max(each.seconds_back for each in mine), max(each.rows_back for each in mine)
            expected = whole[key].kept(ticks_of(NOW - timedelta(days=3)) - back * 1_000_000, most)
            assert {*found.entities} == {*expected.entities}
            for name, (first, after) in found.entities.items():
                begin, end = expected.entities[name]
                assert found.times[first:after].tolist() == expected.times[begin:end].tolist()
                assert found.values[first:after].tolist() == expected.values[begin:end].tolist()
    bounded, open_ = (min(each.times.min() for each in one.series.values()) for one in read)
    oldest = ticks_of(NOW - timedelta(days=3) - timedelta(days=7, hours=1))
    assert oldest <= bounded < oldest + 2 * 3600 * 1_000_000
    assert open_ < oldest, "the newest value may be however old"


@pytest.mark.slow
@pytest.mark.parametrize("days", [5, 40], ids=["a day later", "weeks later"])
def test_what_was_collected_counts_and_not_who_writes_when(learnt: Learnt, unhashed: pl.DataFrame, days: int) -> None:
    """A deployment, or a collection whose batch is held, writes rows of four days after its training; no newer."""
    keep_history(learnt.job.moved(NOW + timedelta(days=days)))
    model = serve(Mounts(learnt.job.releases), "lagged")
    assert model is not None
    found = ask(model, unhashed.head(1), time=(NOW + timedelta(days=4, hours=3)).isoformat())
    assert found["newest"].item() is not None
    assert model.reader.history.counts == {"behind": 3}, "all but what is looked back at a day later"
    ask(model, unhashed.head(1), time=(NOW + timedelta(days=2)).isoformat())
    assert model.reader.history.counts == {"behind": 3}, "two days before what was collected last are kept"


def test_rows_of_long_windows_are_filled_in_more_steps(tmp_path: Path) -> None:
    """Each step holds up whoever else asks the worker."""

    @dataclass
    class Row:
        usual: float | None = None

    minutes = np.arange(20_000, dtype=np.int64) * 60_000_000
    series = EntitySeries({"": (0, len(minutes))}, minutes + ticks_of(datetime.now(UTC)) - minutes[-1], minutes * 1.0)
    fields = {"of": "x", "window": "7d", "as": "sum"}
    row_history = RowHistory({"usual": HistoryColumn.model_validate(fields)}, {"usual": "usual"}, "at")
    row_history.kept = KeptHistory(tmp_path)
    row_history.kept.series = {("x", ()): series}
    rows = [Row() for _ in range(12)]
    steps = list(row_history.fill_in_steps(rows))
    assert all(row.usual for row in rows)
    assert 4 <= len(steps) <= 12, "of 12 times 10,080 values"
    series.entities[""] = 0, 3
    assert not list(row_history.fill_in_steps(rows)), "short ones are filled at once"


def test_of_windows_no_more_is_read_than_they_hold(learnt: Learnt, monkeypatch: pytest.MonkeyPatch) -> None:
    read, since, known = [], NOW - timedelta(days=3), learnt.job.known
    whole = known.rows(columns=["time", "usual", "warmth", "newest"])

    def earlier(*arguments: Any) -> EarlierRows:
        read.append(looked_up(*arguments))
        return read[-1]

    looked_up = Known.earlier
    monkeypatch.setattr(Known, "earlier", earlier)
    for columns in (["usual", "warmth"], ["usual", "newest"]):
        found = known.rows(columns=["time", *columns], since=since)
        assert found.equals(whole.select("time", *columns).filter(pl.col("time") >= since)), columns
    oldest = ticks_of(since - timedelta(days=7, hours=1))
    bounded, open_ = (min(each.times.min() for each in one.series.values()) for one in read)
    assert oldest <= bounded < oldest + 2 * 3600 * 1_000_000
    assert open_ < oldest, "the newest value may be however old"


def test_a_column_that_the_champion_reads_is_not_declared_anew(learnt: Learnt) -> None:
    spec, manifest = learnt.job.usecase.spec, learnt.bundle.manifest
    refuse_redefined(manifest, spec)
    week = spec.history["yesterday"].model_copy(update={"lag": spec.history["usual"].window})
    other = {**spec.history, "yesterday": week}
    del other["newest"]
    with pytest.raises(TrainingError, match="newest gone; yesterday declared otherwise"):
        refuse_redefined(manifest, spec.model_copy(update={"history": other}))


def reading_none(usecase: LoadedUseCase, name: str = "lagged", **changes: Any) -> LoadedUseCase:
    """Return a use case whose features read nothing of earlier rows."""
    without = tuple(
        step.model_copy(update={"numeric": ("temp", "hum")}) if "newest" in step.reads({}) else step
        for step in usecase.spec.features
    )
    plain = usecase.spec.model_copy(update={"name": name, "features": without, **changes})
    return LoadedUseCase(plain, usecase.folder, usecase.suite, usecase.digest)


@pytest.mark.slow
def test_a_replay_brings_rows_ahead_for_a_champion_that_reads_earlier_ones(learnt: Learnt, tmp_path: Path) -> None:
    """The service keeps nothing of what is declared and read by no feature: it would be waited for in vain."""
    unread = reading_none(learnt.job.usecase, "unread")
    job = Job(unread, learnt.job.places, NOW)
    bundle, _, _ = released(unread, learnt.rows, tmp_path / "unread", anew=True)
    assert not looks_back(job), "no champion yet"
    job.releases.add(job.name, bundle.folder, bundle.digest)
    job.releases.set_desired(job.name, champion=Served(bundle=bundle.digest, version="1"))
    assert unread.spec.history
    assert not looks_back(job)
    assert serve(mounts := Mounts(job.releases), "unread") is not None
    assert mounts.by_name["unread"].describe()["history"] == ""
    assert looks_back(learnt.job)
    job.releases.forget(job.name)


@pytest.mark.slow
def test_rows_brought_ahead_are_kept_once_from_the_oldest_that_is_sent_on(
    learnt: Learnt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service is waited for by what the collection itself kept."""
    job, due, written = learnt.job, NOW + timedelta(days=4), list[bytes]()
    mounts = Mounts(job.releases)

    def collecting(_: str, as_of: datetime, *__: object, **given: Any) -> FlowResult:
        monkeypatch.setattr(collect, "open_job", lambda *_, **__: job.moved(as_of))
        return collect.collect.fn("", as_of, **given)

    def ask(*_: str) -> list[dict[str, Any]]:
        serve(mounts, job.name)
        return [{"usecases": {job.name: {"history": [mounts.by_name[job.name].describe()["history"]]}}}]

    def writing(path: Path, content: bytes) -> None:
        written.append(content)
        replace_file(path, content)

    monkeypatch.setattr(collect, "at_work", lambda _, at: nullcontext(SimpleNamespace(job=at)))
    monkeypatch.setattr(collect, "collect_sources", lambda _: None)
    monkeypatch.setattr(collect, "clean", lambda _: None)
    monkeypatch.setattr(collect, "conclude_collection", lambda *_: FlowResult("done", ""))
    monkeypatch.setattr(replay, "collect", collecting)
    monkeypatch.setattr(Places, "open_service", lambda _: nullcontext(SimpleNamespace(ask=ask)))
    monkeypatch.setattr(history_state, "replace_file", writing)
    keep_history(job)
    written.clear()
    since = NOW - timedelta(days=1)
    replay.bring_ahead("", job, since, due)
    assert len(written) == 1
    assert keep_history(job.moved(due), since=since) == mark_of(written[0]), "kept from when on rows are sent"


def test_errors_are_smaller_than_without_earlier_rows(learnt: Learnt, tmp_path: Path) -> None:
    other = reading_none(learnt.job.usecase, history={})
    bundle, _, _ = released(other, learnt.rows.drop(*HISTORY), tmp_path / "plain", anew=True)
    assert learnt.bundle.manifest.metrics["rmse"] < 0.8 * bundle.manifest.metrics["rmse"]


def test_the_page_of_the_docs_is_a_use_case(make_use_case: Callable[..., Path]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "history.md").read_text()
    declared = yaml.safe_load(page.split("```yaml")[1].split("```")[0])
    spec = load_use_case(str(make_use_case(changes=declared))).spec
    assert [*spec.looked_back] == [*declared["history"]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"history": {"x": {"of": "bikers", "lagg": "1d"}}}, "did you mean 'lag'"),
        ({"history": {"x": {"of": "bikers", "lag": "30m"}}}, "later than a lag of 30m"),
        ({"history": {"x": {"of": "weathersit", "rows": 1}}}, "declared text, and numbers are needed"),
        ({"history": {"x": {"of": "temp", "by": ["casual"], "rows": 1}}}, "no request carries it"),
        ({**BUSY, "history": {"x": {"of": "temp", "by": ["bikers"], "rows": 1}}}, "no request carries it"),
        ({"history": {"x": {"of": "temp", "by": ["time"], "rows": 1}}}, "is the clock"),
        ({"history": {"x": {"of": "temp", "by": ["weathersit"], "rows": 1}}}, "is repaired under `cleaning`"),
        ({"history": {"hum": {"of": "temp", "rows": 1}}}, "`columns` names it, too"),
        ({"history": {"x": {"of": "temp", "rows": 1}}, "features": [{"encode": ["x"]}]}, "is a number, not a text"),
        ({"history": {"x": {"of": "y", "rows": 1}, "y": {"of": "temp", "rows": 1}}}, "comes from earlier rows itself"),
        ({"history": {"x": {"of": "temp", "rows": 1}}, "personal": {"temp": "hash"}}, "no number is kept"),
        ({"history": {"x": {"of": "temp", "rows": 1}}, "clock": ...}, "name the column of event times"),
    ],
)
def test_what_contradicts_itself_is_refused(
    make_use_case: Callable[..., Path], changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UseCaseError) as found:
        load_use_case(str(make_use_case(changes=changes)))
    assert words in str(found.value)
