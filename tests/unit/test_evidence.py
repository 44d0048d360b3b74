"""Evidence says where each number comes from, and a changed byte is found."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from expectations.errors import StateError, StorageError
from expectations.loading import load_use_case
from flows.cli import main
from infra.settings import Settings
from infra.signing import sign_folder, signing_key, verify_folder
from tasks.bundles.bundle import Bundle
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, COLLECTED
from tasks.stores.ledger import Entry
from tasks.stores.releases import Releases
from tasks.training.evaluating import evaluated
from tasks.training.judging import judge
from tests.conftest import instant
from tests.unit.test_training import released, rows

Make = Callable[..., Path]


@pytest.fixture
def made(make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A home with a version that was trained and released, and its rows."""
    import polars as pl

    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    settings, folder = Settings(), make_use_case(changes={"monitoring.slices": ["workingday"]})
    usecase = load_use_case(str(folder))
    frame = rows(usecase, "2011-03-01")
    judged = evaluated(judge(frame, usecase.spec, None), frame, usecase.spec)
    bundle, *_ = released(usecase, frame, tmp_path / "b", judged)
    Releases(settings.folder / "releases").add("rentals", bundle.folder, bundle.digest)
    database, at = settings.platform(), instant("2011-03-01")
    database.add_use_case("rentals", folder, usecase.digest)
    facts = {"bundle": bundle.digest, "version": "1", "run": "r1"}
    gates = [{"name": "rmse ≤ 100", "outcome": "pass", "rationale": "it is 60"}]
    with database.transaction() as connection:
        trained = Entry("rentals/train/1", "rentals", at, "train", "passed", "gates", "ok", {**facts, "gates": gates})
        promoted = Entry(
            "rentals/promoted/1", "rentals", at, "deploy", "promoted", "passed", "version 1 answers", facts
        )
        database.write(connection, trained)
        database.write(connection, promoted)
    stamped = frame.with_columns(
        pl.lit(1, dtype=pl.Int64).alias(BATCH), pl.lit(at).dt.cast_time_unit("us").alias(COLLECTED)
    )
    Lake(settings.places().lake, "rentals").append("clean", stamped, transactions={"test": 1})
    return bundle


def ask(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), prog_name="driftwheel")


@pytest.mark.slow
def test_evidence_is_written_signed_and_a_changed_byte_is_found(made: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    written = ask("evidence", "rentals", "--output", str(folder))
    assert written.exit_code == 0, written.output
    found = json.loads((folder / "evidence.json").read_text())
    (version,) = found["versions"]
    assert version["bundle"] == made.digest
    assert version["released"]["entry"] == "rentals/promoted/1"
    assert version["judged"]["entry"] == "rentals/train/1"
    assert version["manifest"]["data_hash"] == "h"
    assert version["evaluation"]["metrics"]["rmse"]["low"] is not None
    assert found["data"]["rows"] > 1000
    assert found["data"]["columns"]["temp"]["largest"] <= 1
    assert {"name", "version", "licence"} <= set(found["licences"][0])
    assert [each["entry"] for each in found["records"]["ledger"]] == ["rentals/train/1", "rentals/promoted/1"]
    card = (folder / "card.md").read_text()
    for said in ("## Version 1", "ledger: rentals/promoted/1", "| rmse |", "slice workingday = 1", "Gate** rmse ≤ 100"):
        assert said in card

    assert "is as it was signed" in ask("evidence", "rentals", "--verify", str(folder)).output
    assert ask("evidence", "rentals", "--output", str(folder)).exit_code == 1  # nothing is written over
    (folder / "card.md").write_text(card.replace("Version 1", "Version 2"))
    refused = ask("evidence", "rentals", "--verify", str(folder))
    assert refused.exit_code == 1
    assert "card.md was altered" in refused.output


@pytest.mark.slow
def test_a_folder_that_cannot_be_finished_is_not_left_half_written(
    made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del made

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("infra.signing.sign_folder", full)
        failed = ask("evidence", "rentals", "--output", str(tmp_path / "evidence"))
    assert failed.exit_code == 1
    assert "no space left on device" in failed.output
    assert sorted(tmp_path.iterdir()) == before
    assert ask("evidence", "rentals", "--output", str(tmp_path / "evidence")).exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "a", "--verify", "b"], "give one of them"),
        (["--key", "ab"], "--key is what --verify checks by"),
        (["--key", "ab", "--output", "a"], "--key is what --verify checks by"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: list[str], said: str) -> None:
    refused = ask("evidence", "rentals", *options)
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.split())


def test_without_a_folder_the_cards_are_printed_and_without_a_version_it_says_what_to_do(made: Bundle) -> None:
    del made
    assert ask("evidence", "rentals").output.startswith("# How many bicycles")
    lacking = ask("evidence", "flights")
    assert lacking.exit_code == 1
    assert "a version that answers or answered" in lacking.output


def test_a_signature_holds_by_the_public_key_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    key, other = (signing_key(bytes([each]) * 32, "evidence") for each in (1, 2))
    sign_folder(tmp_path, key)
    public, foreign = (each.public_key().public_bytes_raw().hex() for each in (key, other))
    assert verify_folder(tmp_path, public) == []
    assert "was not made by the key" in verify_folder(tmp_path, foreign)[0]
    (tmp_path / "more").mkdir()
    for more in ("more.txt", "more/signature.json"):
        (tmp_path / more).write_text("x")
        assert verify_folder(tmp_path, public) == [f"{more} is none of the signed files"]
        (tmp_path / more).unlink()
    (tmp_path / "a.json").unlink()
    assert "a.json is lacking" in verify_folder(tmp_path, public)
    for none in ("no key", "ab" * 31):
        with pytest.raises(StateError, match="Give the key that was printed"):
            verify_folder(tmp_path, none)
    (tmp_path / "signature.json").write_text("{}")
    with pytest.raises(StorageError, match="Write it anew"):
        verify_folder(tmp_path, public)
