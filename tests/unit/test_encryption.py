"""Personal values that are encrypted: read again by who has the key, compared and read by nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import SourceError, StateError, UseCaseError
from expectations.loading import load_use_case
from flows.cli import main
from tasks.cleaning.column_history import ColumnHistory, candidates, learn, varied
from tasks.collection.collecting import collect_sources
from tasks.collection.encrypted_columns import keyring_of
from tasks.stores.ciphertexts import decrypt_values, encrypt_values
from tasks.stores.lake import Lake
from tasks.stores.personal_keys import PERSONAL_KEYS, Keyring, kept_keyring, read_keyring, rotate_keys
from tests.conftest import instant
from tests.unit.test_collection import edit

Make = Callable[..., Path]
RING = Keyring.fresh()
AS_OF = instant("2011-02-01")
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.none())


@given(TEXTS)
def test_what_is_encrypted_is_read_again(texts: list[str | None]) -> None:
    values = pl.Series("email", texts, dtype=pl.String)
    hidden = encrypt_values(values, RING, "shop")
    assert hidden.is_null().to_list() == values.is_null().to_list()
    assert decrypt_values(hidden, RING, "shop").to_list() == texts
    assert hidden.n_unique() - bool(hidden.null_count()) == len(hidden.drop_nulls())  # equal values differ


@given(st.text(st.characters(exclude_categories=["Cs"])), st.data())
def test_an_altered_ciphertext_is_refused(text: str, data: st.DataObject) -> None:
    hidden = encrypt_values(pl.Series("email", [text]), RING, "shop")[0]
    at = data.draw(st.integers(0, len(hidden) - 1))
    other = data.draw(st.sampled_from("ABCDEFabcdef0123456789+/.=").filter(lambda drawn: drawn != hidden[at]))
    with pytest.raises(StateError):
        decrypt_values(pl.Series("email", [hidden[:at] + other + hidden[at + 1 :]]), RING, "shop")


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (pl.Series([17, None, -3]), ["17", None, "-3"]),
        (pl.Series([17.0, float("nan"), 0.1]), ["17", None, "0.1"]),
        (pl.Series([True, None]), ["true", None]),
        (pl.Series(["1980-05-01"]).str.to_date(), ["1980-05-01"]),
        (pl.Series([None, None]), [None, None]),
    ],
)
def test_other_values_are_encrypted_as_texts(values: pl.Series, read: list[str | None]) -> None:
    hidden = encrypt_values(values.alias("x"), RING, "shop")
    assert hidden.dtype == pl.String
    assert decrypt_values(hidden, RING, "shop").to_list() == read


def test_a_ciphertext_belongs_to_its_column_and_use_case() -> None:
    hidden = encrypt_values(pl.Series("email", ["a@b"]), RING, "shop")
    for moved, usecase in ((hidden.alias("phone"), "shop"), (hidden, "other")):
        with pytest.raises(StateError, match="moved there from elsewhere, in row 0"):
            decrypt_values(moved, RING, usecase)
    with pytest.raises(StateError, match=r"the key .*, by which email was encrypted"):
        decrypt_values(hidden, Keyring.fresh(), "shop")
    with pytest.raises(StateError, match="something else in row 0") as refused:
        decrypt_values(pl.Series("email", ["ann@clear"]), RING, "shop")
    assert "ann@clear" not in str(refused.value)


def test_keys_are_kept_for_their_owner_and_rotated(tmp_path: Path) -> None:
    path = tmp_path / PERSONAL_KEYS
    assert read_keyring(path) is None
    first = kept_keyring(path)
    assert kept_keyring(path).keys == first.keys
    assert path.stat().st_mode & 0o077 == 0
    old = encrypt_values(pl.Series("email", ["a@b"]), first, "shop")
    second = rotate_keys(path)
    assert second.keys[:-1] == first.keys
    new = encrypt_values(pl.Series("email", ["a@b"]), second, "shop")
    assert (old[0].split(".")[1], new[0].split(".")[1]) == (first.newest.id, second.newest.id)
    assert decrypt_values(pl.concat([old, new]), second, "shop").to_list() == ["a@b", "a@b"]
    assert first.newest.key not in repr(second)
    path.write_text(path.read_text().replace(first.newest.key, first.newest.key[1:]))
    with pytest.raises(StateError, match="a file of keys of personal values") as refused:
        read_keyring(path)
    assert first.newest.key[1:] not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"personal": {"time": "encrypt"}}, "time identifies rows and cannot be encrypted; hash it"),
        ({"personal": {"hum": "encrypt"}}, r"features.\d: hum is encrypted under `personal`.*hash it"),
        (
            {"personal": {"who": "encrypt"}, "monitoring.slices": ["who"]},
            "monitoring.slices: who is encrypted under `personal`",
        ),
        ({"personal": {"bikers": "encrypt"}}, "label.column: bikers is encrypted under `personal`"),
        ({"personal": {"seen": "encrypt"}, "columns.seen": {"type": "image", "size": [2, 2]}}, "it takes texts"),
    ],
)
def test_nothing_reads_an_encrypted_column(make_use_case: Make, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UseCaseError, match=f"(?s){said}"):
        load_use_case(str(make_use_case(changes=changes)))


def encrypting(make_use_case: Make) -> Path:
    """A use case whose column `email` is encrypted: of all rows one, of every fifth none."""
    folder = make_use_case(changes={"personal": {"email": "encrypt"}})
    edit(
        folder,
        lambda frame: frame.with_row_index("at").with_columns(
            email=pl.when(pl.col("at") % 5 > 0).then(pl.lit("ann@planted.org"))
        ),
    )
    return folder


def test_rows_are_collected_encrypted_and_once(make_use_case: Make, lake: Lake, tmp_path: Path) -> None:
    folder = encrypting(make_use_case)
    path = tmp_path / PERSONAL_KEYS
    usecase = load_use_case(str(folder))
    collect_sources(usecase, lake, AS_OF, b"k", keyring=kept_keyring(path))
    raw = lake.scan("raw").collect()
    hidden = raw["email"]
    assert hidden.drop_nulls().str.starts_with("enc1.").all()
    assert hidden.drop_nulls().n_unique() == len(hidden.drop_nulls()) > 100
    assert set(decrypt_values(hidden, kept_keyring(path), usecase.name)) == {None, "ann@planted.org"}

    rotate_keys(path)  # what is held by the earlier key is not taken for another value
    again = collect_sources(usecase, lake, AS_OF, b"k", keyring=kept_keyring(path))
    assert (again.new, again.corrected) == (0, 0)

    last = raw["time"].max()
    edit(
        folder,
        lambda frame: frame.with_columns(
            email=pl.when(pl.col("time").cast(pl.String) == f"{last:%Y-%m-%dT%H:%M:%SZ}")
            .then(pl.lit("new@planted.org"))
            .otherwise("email")
        ),
    )
    corrected = collect_sources(load_use_case(str(folder)), lake, AS_OF, b"k", keyring=kept_keyring(path))
    assert (corrected.new, corrected.corrected) == (0, 1)
    newest = lake.scan("raw").collect().sort("_batch")["email"].tail(1)
    assert decrypt_values(newest, kept_keyring(path), usecase.name).to_list() == ["new@planted.org"]

    with pytest.raises(StateError, match="by which email was encrypted"):
        collect_sources(usecase, lake, AS_OF, b"k", keyring=Keyring.fresh())


def test_rows_that_were_collected_in_clear_are_not_mixed_with_encrypted_ones(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(changes={"personal": {"email": "keep"}})
    edit(folder, lambda frame: frame.with_columns(email=pl.lit("ann@planted.org")))
    collect_sources(load_use_case(str(folder)), lake, AS_OF, b"k")
    text = (folder / "usecase.yaml").read_text()
    assert "email: keep" in text
    (folder / "usecase.yaml").write_text(text.replace("email: keep", "email: encrypt"))
    with pytest.raises(SourceError, match="personal email: keep; found personal email: encrypt") as refused:
        collect_sources(load_use_case(str(folder)), lake, AS_OF, b"k", keyring=RING)
    assert "another `name`" in str(refused.value)


def test_keys_that_are_lost_are_not_replaced(make_use_case: Make, lake: Lake, tmp_path: Path) -> None:
    path, usecase = tmp_path / PERSONAL_KEYS, load_use_case(str(encrypting(make_use_case)))
    made = keyring_of(usecase.spec, lake, path)
    assert made is not None
    collect_sources(usecase, lake, AS_OF, b"k", keyring=made)
    assert keyring_of(usecase.spec, lake, path) == made
    path.unlink()
    with pytest.raises(StateError, match=r"email of .* is encrypted.*no such file.*from a backup"):
        keyring_of(usecase.spec, lake, path)
    assert not path.exists()


def test_people_read_them_by_the_key_alone(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, folder = tmp_path / "home", encrypting(make_use_case)
    home.mkdir()
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(home))
    usecase = load_use_case(str(folder))
    path = home / PERSONAL_KEYS
    lake = Lake(str(home / "lake"), usecase.name)
    collect_sources(usecase, lake, AS_OF, b"k", keyring=kept_keyring(path))

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, arguments)
        return done.exit_code, done.output

    _, hidden = call("rows", str(folder), "raw", "--json", "--head", "9")
    assert "ann@planted.org" not in hidden
    code, clear = call("rows", str(folder), "raw", "--json", "--head", "9", "--decrypt")
    assert code == 0
    assert {row["email"] for row in json.loads(clear[: clear.rindex("]") + 1])} == {None, "ann@planted.org"}
    code, said = call("personal-keys", "rotate")
    assert (code, "encrypts from now on; 1 earlier still read" in said) == (0, True)
    code, listed = call("personal-keys", "list", "--json")
    assert [key["id"] for key in json.loads(listed)] == [key.id for key in kept_keyring(path).keys]
    assert kept_keyring(path).newest.key not in listed
    for where, why in (("email == 'ann@planted.org'", "found email, which is encrypted where data enter"),):
        code, said = call("forget", str(folder), "--where", where, "--dry-run")
        assert code == 1
        assert why in " ".join(said.split())
    path.unlink()
    code, said = call("rows", str(folder), "raw", "--decrypt")
    assert code == 1
    assert "no such file" in said


def test_no_expectation_is_learnt_of_ciphertexts(make_use_case: Make) -> None:
    spec = load_use_case(str(make_use_case(changes={"personal": {"email": "encrypt"}}))).spec
    hidden = encrypt_values(pl.Series("email", ["a@b"] * 2000), RING, spec.name).to_frame()
    seen: dict[str, ColumnHistory] = {}
    learn(seen, hidden)
    assert seen["email"].unique
    found = [each.type for each in (*candidates(spec, seen), *varied(spec, seen))]
    assert found
    assert not [each for each in found if "unique" in each or "length" in each]
