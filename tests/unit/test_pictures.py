"""Pictures: decoded once and held to bounds, learnt from by their pixels, journaled by what tells them again."""

import asyncio
import base64
import contextlib
import gzip
import io
import json
import math
import os
import re
import shutil
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from expectations.data import ColumnSpec, SourceContext
from expectations.errors import TrainingError, UseCaseError
from expectations.families import Rows
from expectations.loading import SHIPPED, LoadedUseCase, load_use_case
from flows.rows import printable
from infra.serving.access import Access
from infra.serving.admission import Admitted, Limits
from infra.serving.answering import Question, score
from infra.serving.bad_requests import BadRequestError
from infra.serving.journal_writer import Journal
from infra.serving.models import make_ready
from infra.serving.mounts import Mounts
from infra.serving.pieces import MAX_ROW_BYTES
from infra.serving.predicting import Predictions
from infra.serving.protocol import Reader
from infra.serving.replies import Reply
from infra.serving.request_sizes import SMALL_BYTES, is_large_again
from tasks.bundles.bundle import Bundle, _predictor, load_bundle
from tasks.bundles.manifest import BundleColumn
from tasks.bundles.row_frames import jsonable
from tasks.bundles.served_rows import decode_rows
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.collection.pictures import read_pictures
from tasks.evaluation.sketches import sketch
from tasks.evaluation.views import picture_views, with_views
from tasks.modelling.predictors import OnnxPredictor
from tasks.modelling.torch_signals import TorchCNN
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.picture_bounds import MAX_PIXELS, MAX_REQUEST_PIXELS, MAX_SCANS, MAX_SENT_PIXELS
from tasks.preprocessing.picture_decoding import PictureError
from tasks.preprocessing.pictures import (
    Pictures,
    PictureShape,
    light_of,
    pixels_of,
    read_picture,
    reference_of,
    shape_of,
)
from tasks.preprocessing.steps.pixels import PixelsStep
from tasks.preprocessing.unreadable import Unreadable
from tasks.stores.desired_state import Served
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Version
from tasks.stores.releases import Releases
from tasks.stores.request_columns import to_columns
from tasks.training.judging import judge, refit
from tasks.training.packing import pack
from tests.conftest import known_by, needs_torch

GREY = Pictures(2, 2)


def encoded(picture: Image.Image, form: str = "PNG", **others: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **others)
    return out.getvalue()


def grey(numbers: list[list[int]]) -> Image.Image:
    return Image.fromarray(np.array(numbers, dtype=np.uint8))


SQUARE = grey([[0, 51], [102, 255]])


@pytest.mark.parametrize("form", ["PNG", "PPM"])
def test_a_picture_is_its_header_and_its_pixels_whatever_it_was_compressed_by(form: str) -> None:
    found = GREY.decode(encoded(SQUARE, form))
    assert found == b"P5\n2 2\n255\n" + bytes([0, 51, 102, 255])
    assert GREY.decode(found) is found
    assert shape_of(found) == PictureShape(2, 2, 1)
    assert pixels_of(found).tolist() == [0, 51, 102, 255]


def test_colours_are_made_grey_and_grey_is_put_into_colours() -> None:
    red = Image.new("RGB", (1, 1), (255, 0, 0))
    assert pixels_of(Pictures(1, 1).decode(encoded(red))).tolist() == [76]  # 0.299 of 255
    assert pixels_of(Pictures(1, 1, 3).decode(encoded(red))).tolist() == [255, 0, 0]
    assert pixels_of(Pictures(2, 2, 3).decode(encoded(SQUARE)))[3:6].tolist() == [51, 51, 51]


def test_another_size_is_averaged_and_what_is_transparent_is_white() -> None:
    large = grey([[0, 0, 255, 255], [0, 0, 255, 255], [10, 30, 7, 7], [10, 30, 7, 7]])
    assert pixels_of(GREY.decode(encoded(large))).tolist() == [0, 255, 20, 7]
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    assert pixels_of(Pictures(1, 1).decode(encoded(clear))).tolist() == [255]


def test_numbers_of_few_bits_are_spread_over_all() -> None:
    assert pixels_of(Pictures(1, 1, 3).decode(b"P6\n1 1\n15\n\x0f\x00\x05")).tolist() == [255, 0, 85]
    assert pixels_of(GREY.decode(b"P1\n2 2\n1 0 0 1\n")).tolist() == [0, 255, 255, 0]


def test_a_photo_is_turned_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise makes it upright
    photo = encoded(grey([[0, 255]]).resize((32, 16), Image.Resampling.NEAREST), "JPEG", exif=exif, quality=95)
    dark, light = pixels_of(Pictures(1, 2).decode(photo)).tolist()
    assert dark < 10
    assert light > 245


def bomb(width: int, height: int, depth: int = 8, colours: int = 0) -> bytes:
    """Return a PNG of few bytes that says it has very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def painted(scans: int) -> bytes:
    """Return a progressive JPEG whose last scan comes so many times in all."""
    whole = encoded(grey([[7] * 64] * 64), "JPEG", progressive=True)
    first = whole.count(b"\xff\xda")
    return whole[:-2] + whole[whole.rfind(b"\xff\xda") : -2] * (scans - first) + whole[-2:]


def test_a_jpeg_is_painted_as_often_as_any_and_no_more() -> None:
    """200 kB of scans of twelve bytes each took half a minute to decode."""
    assert GREY.decode(painted(MAX_SCANS))
    photo = encoded(grey([[7] * 64] * 64), "JPEG", exif=b"Exif\0\0" + b"\xff\xda" * 99, quality=95)
    assert GREY.decode(photo + b"\xff\xda\0\2" * 99), "what is not of the picture does not count"
    with pytest.raises(PictureError, match=f"a JPEG of more than {MAX_SCANS} scans"):
        GREY.decode(painted(MAX_SCANS + 1))
    with pytest.raises(PictureError, match="scans"):  # a marker without a length hides none
        GREY.decode(photo[:2] + b"\xff\x01" + painted(MAX_SCANS + 1)[2:])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no picture", "no PNG, JPEG or netpbm"),
        (encoded(SQUARE, "GIF"), "no PNG, JPEG or netpbm"),
        (encoded(grey([[7] * 64] * 64), "JPEG")[:200], "a damaged picture"),
        (bomb(4097, 4096), f"more than {MAX_PIXELS:,} pixels"),
        (bomb(50_000, 50_000), f"more than {MAX_PIXELS:,} pixels"),
        (bomb(64, 64), "a damaged picture"),
        (encoded(Image.fromarray(np.array([[7000]], dtype=np.uint16))), "more than 8 bits a channel"),
        (bomb(2, 2, depth=16), "more than 8 bits a channel"),
        (bomb(2, 2, depth=16, colours=2), "more than 8 bits a channel"),
        (bomb(2, 2, depth=16, colours=6), "more than 8 bits a channel"),
        (b"P6\n1 1\n65535\n" + bytes(6), "more than 8 bits a channel"),
        (b"P6\n1 1\n256\n" + bytes(6), "more than 8 bits a channel"),
        (b"P3\n1 1\n1000\n7 7 7\n", "more than 8 bits a channel"),
        (b"P5\n1 1\n1000\n" + bytes(2), "more than 8 bits a channel"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9 * 1024 * 1024), "more than 8 MB"),
    ],
)
def test_what_is_no_picture_of_a_size_that_is_decoded_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(PictureError, match=why):
        GREY.decode(content)


def test_no_cut_and_no_flipped_byte_of_a_picture_raises_anything_else() -> None:
    random = np.random.default_rng(0)
    whole = [encoded(grey(random.integers(0, 256, (9, 9)).tolist()), form) for form in ("PNG", "JPEG", "PPM")]
    for content in whole:
        for at in random.integers(0, len(content), 60).tolist():
            damaged = bytearray(content)
            damaged[at] ^= int(random.integers(1, 256))
            for odd in (content[:at], bytes(damaged)):
                with contextlib.suppress(PictureError):
                    assert len(GREY.decode(odd)) == len(GREY.shape.header) + 4


def test_a_request_sends_base64_a_data_uri_or_numbers() -> None:
    text = base64.b64encode(encoded(SQUARE)).decode()
    expected = GREY.decode(encoded(SQUARE))
    assert GREY.check(text) == GREY.check(f"data:image/png;base64,{text}") == GREY.check(f"{text[:9]}\n{text[9:]}")
    assert GREY.check([[0, 51], [102.0, 255]]) == GREY.check(text) == expected
    assert Pictures(1, 1, 3).check([[[1, 2, 3]]]) == b"P6\n1 1\n255\n\x01\x02\x03"
    assert GREY.check(None) is None
    for odd in ("no base64!", [[1, 2]], [[1, 2], [3]], [[1, 2], [3, 256]], [[1, 2], [3, 0.5]], [["a", 2], [3, 4]], 7.0):
        with pytest.raises(TypeError, match="a picture: PNG or JPEG in base64, or 2 rows of 2 whole numbers"):
            GREY.check(odd)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([[0, 1], ["a" * 60_000, 1]], "no whole ones"),
        ([[0, 1], [True, 1]], "no whole ones"),
        ([[0, 1], [None, float("nan")]], "no whole ones"),
        ([[0, 1], [10**400, float("inf")]], "no whole ones"),
        ([[0, 1], [[], 1]], "no whole ones"),
        ([[0, 1], [[2], 1]], "another shape"),
        ([[0, 1], [[2, 3, 4], [5, 6, 7]]], "another shape"),
        ([[0, 1], [2]], "rows of different lengths"),
        ([[0, 1], "ab"], "another shape"),
        ([], "another shape"),
    ],
)
def test_numbers_are_looked_at_one_by_one(rows: list, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of them is not made: NumPy makes each number as long as the longest text among them."""
    monkeypatch.setattr(np, "array", lambda *_: pytest.fail("an array of whatever came"))
    assert GREY.from_numbers([[0, 1.0], (2, 255)]) == GREY.from_numbers([[[0], [1]], [[2], [255]]])
    with pytest.raises(PictureError, match=why):
        GREY.from_numbers(rows)
    with pytest.raises(PictureError, match="another shape"):
        Pictures(2, 2, 3).from_numbers([[0, 1], [2, 3]])


def test_what_is_kept_of_a_picture_tells_it_again_and_how_bright_it_is() -> None:
    content = GREY.decode(encoded(SQUARE))
    kept = reference_of(content)
    assert light_of(kept) == light_of(content) == (0.4, round(float(np.std([0, 51, 102, 255])) / 255, 6))
    assert light_of(b"!no such file") is light_of("text") is light_of(None) is None
    with pytest.raises(TypeError, match="only its hash is kept"):
        read_picture(kept)


def test_a_picture_that_is_nearly_black_is_kept_and_known_again() -> None:
    """Of these Python writes the brightness, and of the larger one only that, with an exponent."""
    for pixels, light in ((4096, (0.000001, 0.000061)), (1024, (0.000004, 0.000122))):
        content = PictureShape(32, pixels // 32, 1).header + bytes(pixels - 1) + b"\1"
        assert "e-0" in reference_of(content)
        assert light_of(reference_of(content)) == light_of(content) == light


def test_pictures_of_two_sizes_are_not_learnt_from() -> None:
    frame = pl.DataFrame({"p": [PictureShape(1, 1, 1).header + b"a", PictureShape(2, 1, 1).header + b"ab"]})
    with pytest.raises(TrainingError, match="pictures of one size"):
        fit_program([PixelsStep(pixels=("p",))], frame)
    large = PictureShape(128, 128, 1)
    with pytest.raises(TrainingError, match="at most 12,288 numbers"):
        fit_program([PixelsStep(pixels=("p",))], pl.DataFrame({"p": [large.header + bytes(large.numbers)]}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"picture": {"type": "image"}}, "columns.picture: pictures are brought to one size; say which"),
        ({"picture": {"type": "text"}}, "features.0: it reads picture as a picture; declare"),
        ({"sheet": {"type": "image", "size": [2, 2]}}, "keys: sheet is declared as a picture"),
        ({"sheet": {"type": "integer", "size": [2, 2]}}, "columns.sheet: `size` is of pictures, and it is integer"),
    ],
)
def test_a_use_case_that_cannot_mean_its_pictures_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    folder = digits(tmp_path / "digits", 1)
    written = yaml.safe_load((folder / "usecase.yaml").read_text())
    written["columns"] |= change
    (folder / "usecase.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(UseCaseError, match=said):
        load_use_case(str(folder))


@pytest.mark.parametrize("family", ["torch.cnn", "backbone"])
def test_a_candidate_that_looks_at_pictures_of_another_size_is_refused(tmp_path: Path, family: str) -> None:
    folder = digits(tmp_path / "digits", 1)
    written = yaml.safe_load((folder / "usecase.yaml").read_text())
    written["columns"]["picture"]["size"] = [8, 16]
    some = {"backbone": "lite0.onnx"} if family == "backbone" else {}
    written["model"]["candidates"] = [{"family": "linear"}, {"family": family, "picture": [16, 8]} | some]
    (folder / "usecase.yaml").write_text(yaml.safe_dump(written))
    said = r"model\.candidates\.1\.picture: it is \[16, 8\], and the pictures of picture are \[8, 16\]"
    with pytest.raises(UseCaseError, match=said):
        load_use_case(str(folder))
    written["model"]["candidates"][1]["picture"] = [8, 16]
    (folder / "usecase.yaml").write_text(yaml.safe_dump(written))
    assert load_use_case(str(folder)).spec.model.candidates[1].looks_at == (8, 16)


def digits(folder: Path, rows: int) -> Path:
    """Copy the shipped use case with its first rows, three of which hold no picture that can be read."""
    shutil.copytree(SHIPPED / "digits", folder)
    file = folder / "data" / "digits.csv.gz"
    head, *lines = gzip.decompress(file.read_bytes()).decode().splitlines()[: rows + 1]
    cells = [line.split(",") for line in lines]
    if rows > 10:
        (file.parent / "seven.png").write_bytes(base64.b64decode(cells[7][2]))
        cells[7][2] = "seven.png"
        cells[8][2], cells[9][2], cells[10][2] = "none.png", "../usecase.yaml.png", "bm8gcGljdHVyZQ=="
    text = "\n".join([head, *(",".join(each) for each in cells)])
    file.write_bytes(gzip.compress(text.encode()))
    if "DRIFTWHEEL_WITHOUT_TORCH" in os.environ:  # then linear models compete alone
        declared = folder / "usecase.yaml"
        declared.write_text(re.sub(r"^ *- {family: torch.*\n", "", declared.read_text(), flags=re.MULTILINE))
    return folder


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedUseCase, Lake, Bundle]:
    """The shipped use case, collected, cleaned, trained and packed on its first weeks."""
    folder = tmp_path_factory.mktemp("pictures")
    usecase, lake = load_use_case(str(digits(folder / "digits", 500))), Lake(str(folder / "lake"), "digits")
    said = collect_sources(usecase, lake, datetime(2024, 3, 1, tzinfo=UTC), b"key").said
    named = "row 9: no such file; row 10: a path that leads out of the source's folder; row 11: no PNG, JPEG or netpbm"
    assert any(f"3 of 500 pictures of picture cannot be read: their rows are set apart ({named})" in e for e in said)
    cleaned = clean_batches(usecase, lake)
    assert cleaned.quarantined == {
        "picture(picture): a path that leads out of the source's folder": 1,
        "picture(picture): no PNG, JPEG or netpbm": 1,
        "picture(picture): no such file": 1,
    }
    apart = printable(lake.scan("quarantine").collect())["picture"].to_list()
    assert sorted(apart) == [
        "unreadable: ../usecase.yaml.png: a path that leads out of the source's folder",
        "unreadable: no PNG, JPEG or netpbm",
        "unreadable: none.png: no such file",
    ]
    rows, raw = (lake.scan(table).collect().sort("time") for table in ("clean", "raw"))
    judged = judge(rows, usecase.spec, None)
    arguments = {"data": Version("clean", 0, len(rows)), "data_hash": "", "commit": "", "parent": "", "name": "digits"}
    arguments["as_of"] = known_by(usecase.spec, rows)
    digest = pack(folder / "bundle", usecase, rows, raw, judged, refit(rows, usecase.spec, judged), **arguments)
    return usecase, lake, load_bundle(folder / "bundle", digest)


@pytest.mark.parametrize("ending", ["png", "PNG", "jpg", "jpeg", "jpe", "jfif", "pbm", "pgm", "ppm", "pnm"])
def test_a_path_is_known_by_any_ending_that_such_files_have(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a b.{ending}").write_bytes(encoded(SQUARE))
    assert collected(f"a b.{ending}", tmp_path) == GREY.decode(encoded(SQUARE))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("loop.png", "a file that cannot be read|no such file"),
        ("loop.png/a.png", "a file that cannot be read|no such file"),
        ("scan.gif", "neither a path of a PNG, JPEG or netpbm file nor base64"),
        ("scan 17", "neither a path of a PNG, JPEG or netpbm file nor base64"),
        ("%" * 5000, "a text that is no base64"),
    ],
)
def test_a_text_that_leads_to_no_picture_sets_its_row_alone_apart(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "pool.png")
    (tmp_path / "pool.png").symlink_to(tmp_path / "loop.png")
    found = Unreadable.of(collected(text, tmp_path))
    assert found is not None
    assert re.fullmatch(why, found.reason)
    assert found.path == (text if len(text) < 1000 else "")


def collected(text: str, folder: Path) -> bytes | None:
    spec = ColumnSpec(type="image", size=(2, 2))
    found = read_pictures(pl.DataFrame({"p": [text]}), {"p": spec}, SourceContext("s", folder, set(), None), folder)
    return found["p"][0]


def test_the_same_delivery_again_brings_nothing_new(learnt) -> None:
    usecase, lake, _ = learnt
    again = collect_sources(usecase, lake, datetime(2024, 3, 1, tzinfo=UTC), b"key")
    assert (again.new, again.corrected) == (0, 0)
    kept = lake.scan("raw").sort("sheet").collect()["picture"]
    assert kept.dtype == pl.Binary
    assert shape_of(kept[7]) == PictureShape(8, 8, 1)


def test_a_request_of_a_picture_is_answered_as_the_row_it_is_of_and_journaled_by_its_hash(learnt) -> None:
    _, lake, bundle = learnt
    some = lake.scan("clean").sort("time").head(30).collect()
    reader, executor, *_ = make_ready(bundle, 100)
    asked = [{"picture": row["picture"]} for row in jsonable(some.select("picture"))]
    rows, _ = reader.read(msgspec.json.encode({"dataframe_records": asked}))
    np.testing.assert_array_equal(executor.matrix(rows), bundle.program.transform(some, repaired=True))
    as_png = Image.frombytes("L", (8, 8), pixels_of(some["picture"][0]).tobytes())
    sent = base64.b64encode(encoded(as_png.resize((32, 32), Image.Resampling.NEAREST))).decode()
    numbers = pixels_of(some["picture"][0]).reshape(8, 8).tolist()
    for value in (sent, numbers):
        (row,), _ = reader.read(json.dumps({"dataframe_records": [{"picture": value}]}).encode())
        assert executor.one(row) == executor.one(rows[0])
    kept = reader.kept(rows)
    assert kept[0][reader.order.index("picture")] == reference_of(some["picture"][0])
    journaled = decode_rows(to_columns(reader.order, kept), bundle.manifest.columns)
    reference = sketch(some.select("picture"))
    assert {*reference.columns} == {"brightness of picture", "contrast of picture"}
    seen = with_views(journaled.select("picture"), None, reference.views)
    assert seen["brightness of picture"].to_list() == [light_of(each)[0] for each in some["picture"]]
    named = with_views(journaled, None, picture_views(["picture"]))  # what causes are looked for in
    assert named["contrast of picture"].to_list() == [light_of(each)[1] for each in some["picture"]]
    assert {*sketch(journaled.select("picture")).columns} >= {"brightness of picture", "contrast of picture"}


@needs_torch
def test_pixels_are_explained_by_runs_of_fewer_than_the_columns_of_a_table(learnt, tmp_path: Path) -> None:
    """Of 784 pixels each one alone takes seven times as long, and shows no more."""
    pixels = np.random.default_rng(0).uniform(size=(12, 64))
    names = tuple(f"p{at}" for at in range(64))
    rows = Rows(pixels, np.arange(12) % 2 * 1.0, names, (), "binary_classification", ("0", "1"))
    recipe = TorchCNN(family="torch.cnn", picture=(8, 8), channels=(2,), epochs=1)
    recipe.fit(rows, None, seed=0, report=lambda *_: None).save(tmp_path)
    manifest = learnt[2].manifest.model_copy(update={"family": "torch.cnn", "files": {}})
    of_picture = _predictor(tmp_path, manifest)
    of_table = _predictor(tmp_path, manifest.model_copy(update={"columns": ()}))
    assert isinstance(of_picture, OnnxPredictor)
    assert isinstance(of_table, OnnxPredictor)
    assert (of_picture.alone, of_table.alone) == (128, 1024)
    assert "more than 128 features" in of_picture.method


def test_a_picture_that_cannot_be_read_is_named_by_column_and_row(learnt) -> None:
    reader = make_ready(learnt[2], 100).reader
    good = base64.b64encode(encoded(SQUARE)).decode()
    for value, why in (("bm8gcGljdHVyZQ==", "no PNG"), ("%", "no base64"), ([[1]], "another shape"), (7, "")):
        body = json.dumps({"dataframe_records": [{"picture": good}, {"picture": value}]}).encode()
        with pytest.raises(BadRequestError, match=rf"the column picture needs a picture: .*{why}.* in row 1"):
            reader.read(body)


def test_a_row_without_its_picture_is_told_what_it_needs(learnt) -> None:
    """What was said before, to send null, ended in a row without a finite prediction."""
    ready = make_ready(learnt[2], 100)
    good = base64.b64encode(encoded(SQUARE)).decode()
    with pytest.raises(BadRequestError, match=r"the column picture is missing in row 1; send a picture$"):
        ready.reader.read(json.dumps({"dataframe_records": [{"picture": good}, {}]}).encode())
    rows, _ = ready.reader.read(json.dumps({"dataframe_records": [{"picture": good}, {"picture": None}]}).encode())
    assert [ready.reader.pictures.absent(row) for row in rows] == [None, "picture"]
    model = SimpleNamespace(reader=ready.reader, outputs=2, predict=lambda rows: [[0.5, 0.5], [math.nan, math.nan]])
    with pytest.raises(BadRequestError, match=r"^a picture is needed in row 1, column picture$"):
        score(Question(b"", "json", rows, "prediction", model, None, ()))


def test_a_picture_that_makes_its_row_too_large_is_called_that(learnt) -> None:
    """It was said that the body is not JSON."""
    reader = make_ready(learnt[2], 100).reader
    noise = np.random.default_rng(0).integers(0, 256, (800, 400), dtype=np.uint8)
    large, good = (base64.b64encode(encoded(each)).decode() for each in (Image.fromarray(noise), SQUARE))
    for texts in ([large], [good, good, large]):
        body = json.dumps({"dataframe_records": [{"picture": text} for text in texts]}).encode()
        said = rf"^a picture.* is too large: a row has at most {MAX_ROW_BYTES} bytes, so a file about 192 kB"
        with pytest.raises(BadRequestError, match=said):
            reader.read(body)
    fits = base64.b64encode(encoded(Image.fromarray(noise[:400]))).decode()
    assert MAX_ROW_BYTES > len(fits) > 200_000
    assert len(reader.read(json.dumps({"dataframe_records": [{"picture": fits}]}).encode())[0]) == 1


@pytest.mark.parametrize(
    ("written", "said"),
    [(32, r"write \[width, height\] in pixels, for example \[32, 32\]"), ([8, 8, 1], r"write \[width, height\]")],
)
def test_a_size_that_is_no_pair_is_told_what_it_is(tmp_path: Path, written: object, said: str) -> None:
    folder = digits(tmp_path / "digits", 1)
    spec = yaml.safe_load((folder / "usecase.yaml").read_text())
    spec["columns"]["picture"]["size"] = written
    (folder / "usecase.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(UseCaseError, match=rf"columns\.picture\.size.*: {said}"):
        load_use_case(str(folder))
    spec["columns"]["picture"]["size"] = [8, 8]
    spec["model"]["candidates"] = [{"family": "torch.cnn", "picture": written}]
    (folder / "usecase.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(UseCaseError, match=rf"candidates\.0\.picture.*: {said}"):
        load_use_case(str(folder))


def test_a_request_decodes_so_many_pixels_and_one_picture_a_step(learnt) -> None:
    """A PNG of one bit a pixel says in two kilobytes what takes a fifth of a second to paint."""
    reader = make_ready(learnt[2], 100).reader

    def body(sizes: list[tuple[int, int]]) -> bytes:
        texts = [base64.b64encode(encoded(Image.new("1", size))).decode() for size in sizes]
        return json.dumps({"dataframe_records": [{"picture": text} for text in texts]}).encode()

    assert len(reader.read(body([(1024, 1024)]))[0]) == 1
    with pytest.raises(BadRequestError, match=rf"picture .*more than {MAX_SENT_PIXELS:,} pixels.* in row 1"):
        reader.read(body([(8, 8), (1025, 1024)]))
    many = MAX_REQUEST_PIXELS // MAX_SENT_PIXELS
    with pytest.raises(BadRequestError, match=rf"more than {MAX_REQUEST_PIXELS:,} pixels in a request.* in row {many}"):
        reader.read(body([(1024, 1024)] * (many + 1)))
    for media, sent in (("json", body([(8, 8)] * 5)), ("csv", csv_of(body([(8, 8)] * 5)))):
        assert len([*reader.read_in_steps(sent, media)]) == 5, "each picture in a step of its own"
    assert len([*reader.read_in_steps(json.dumps({"instances": [{"picture": [[7] * 8] * 8}]}).encode())]) == 0


def csv_of(body: bytes) -> bytes:
    rows = json.loads(body)["dataframe_records"]
    return "\n".join(["picture", *(row["picture"] for row in rows)]).encode()


@pytest.mark.slow
def test_others_have_their_turn_between_pictures_of_the_smallest_body(learnt, tmp_path: Path) -> None:
    bundle, turns = learnt[2], 0
    text = base64.b64encode(encoded(Image.new("1", (8, 8)))).decode()
    body = json.dumps({"dataframe_records": [{"picture": text}] * 9}).encode()
    assert len(body) < SMALL_BYTES

    async def go() -> None:
        nonlocal turns
        releases = Releases(tmp_path / "releases")
        releases.add("digits", bundle.folder, bundle.digest)
        releases.set_desired("digits", champion=Served(bundle=bundle.digest, version="1"))
        mounts, journal = Mounts(releases), Journal(tmp_path / "journal")
        await mounts.reconcile()
        predictions = Predictions(mounts, journal, Access(None, loopback=True), Limits())
        admitted = predictions.admit([(b"content-type", b"application/json")])
        assert isinstance(admitted, Admitted)
        replies: list[Reply] = []
        try:
            predictions.answer("/invocations", admitted, body, replies.append)
            assert predictions._scoring.is_near(), "a second request is read beside it"
            predictions.answer("/invocations", admitted, body, replies.append)
            assert not predictions._scoring.is_near(), "and a third, however small, waits"
            predictions.answer("/invocations", admitted, body, replies.append)
            while len(replies) < 3:
                turns += 1
                await asyncio.sleep(0)
        finally:
            predictions.close()
            journal.close()
        assert [reply.status for reply in replies] == [200] * 3
        champion = mounts.by_name["digits"].champion
        assert champion is not None
        assert is_large_again(1, champion), "a candidate decodes beside the event loop"

    asyncio.run(go())
    assert turns > 9


def test_a_column_that_is_declared_large_takes_pictures_of_its_size() -> None:
    column = BundleColumn(name="p", type="image", role="input", size=(1100, 1000))
    reader = Reader([column])
    text = base64.b64encode(encoded(Image.new("1", (1100, 1000)))).decode()
    assert len(reader.read(json.dumps({"instances": [{"p": text}]}).encode())[0]) == 1


def test_what_stands_for_a_picture_that_cannot_be_read_tells_why_and_its_path() -> None:
    old = printable(pl.DataFrame({"p": [b"!no such file", b"P5", None]}))["p"].to_list()  # without a path, as before
    assert old == ["unreadable: no such file", "UDU=", None]
    assert Unreadable.of(b"!no such file") == ("no such file", "")
    for each in (Unreadable("no such file", "süß\0!.png"), Unreadable("a damaged picture")):
        assert Unreadable.of(each.content) == each
        assert read_picture(each.content) is None
    assert Unreadable.of(None) is Unreadable.of(PictureShape(1, 1, 1).header + b"!") is None


def test_a_batch_of_which_most_pictures_cannot_be_read_is_held(tmp_path: Path) -> None:
    folder = digits(tmp_path / "digits", 5)
    file = folder / "data" / "digits.csv.gz"
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    gone = [lines[0], lines[1], *(",".join([*line.split(",")[:2], "a.png", "1"]) for line in lines[2:])]
    file.write_bytes(gzip.compress("\n".join(gone).encode()))
    usecase, lake = load_use_case(str(folder)), Lake(str(tmp_path / "lake"), "digits")
    collect_sources(usecase, lake, datetime(2024, 3, 1, tzinfo=UTC), b"key")
    assert clean_batches(usecase, lake).held == ("picture(picture): no such file: 4 of 5 rows failed",)
