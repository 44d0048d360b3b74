"""Texts through a network that others trained: tokens and graph go into the bundle, and a linear head learns."""

import csv
import hashlib
import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from expectations.errors import TrainingError, UseCaseError
from expectations.families import Rows
from expectations.loading import load_use_case
from expectations.parts import FitContext
from tasks.modelling import text_backbone
from tasks.modelling.backbone import Backbone
from tasks.modelling.text_backbone import Remembering, TextEmbedder
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.program import FeatureProgram
from tasks.preprocessing.steps import tokens
from tasks.preprocessing.steps.tokens import Tokens

TOKENIZER = "tasks.preprocessing:smallest_tokenizer.json"
TABLE = np.array([[0, 0], [0, 0], [0, 0], [0.1, 0], [0, 0.1], [1, 0], [0, 1], [0.2, 0.2]], np.float32)
"""What the network says of each token: good points one way, bad the other."""


def network(path: Path, *, names: tuple[str, ...] = ("input_ids", "attention_mask"), pooled: bool = False) -> Path:
    """Write a network that looks its tokens up, and says each one's vector, or the largest of all."""
    tokens = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"]) for name in names]
    nodes = [helper.make_node("Gather", ["table", names[0]], ["each"])]
    said, shape = "each", ["rows", "tokens", 2]
    if pooled:
        nodes.append(helper.make_node("ReduceMax", ["each"], ["whole"], axes=[1], keepdims=0))
        said, shape = "whole", ["rows", 2]
    graph = helper.make_graph(
        nodes,
        "lookup",
        tokens,
        [helper.make_tensor_value_info(said, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(TABLE, "table")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString())
    return path


def texts(number: int = 120) -> pl.DataFrame:
    """Return texts that are good or bad, and a number beside them."""
    random = np.random.default_rng(3)
    good = random.random(number) < 0.5
    words = [["a", "b", "day", "good" if each else "bad"] for each in good]
    for each in words:
        random.shuffle(each)
    return pl.DataFrame({"t": [" ".join(each) for each in words], "x": random.normal(size=number), "label": good})


def tokenized(frame: pl.DataFrame, at_most: int = 6) -> tuple[FeatureProgram, Rows]:
    step = Tokens(tokens=("t",), tokenizer=TOKENIZER, at_most=at_most)
    from tasks.preprocessing.steps.numeric import Numeric

    program, matrix = fit_program([step, Numeric(numeric=("x",))], frame)
    label = frame["label"].cast(pl.Float64).to_numpy()
    return program, Rows(matrix, label, program.features, (), "binary_classification", ("0", "1"))


def declared(path: Path, **fields: object) -> Backbone:
    return Backbone(**{"family": "backbone", "backbone": str(path), "text": "t", "l2": 0.01, **fields})


def fitted(recipe: Backbone, train: Rows):
    return recipe.fit(train, None, seed=0, report=lambda *_: None)


def test_texts_are_split_by_the_vocabulary_and_cut_where_it_is_declared() -> None:
    frame = pl.DataFrame({"t": ["Good day", "bad bad bad bad", None, "never seen", "? a"], "x": 0.0})
    frame = frame.with_columns(label=pl.lit(1.0))
    program, rows = tokenized(frame, at_most=4)
    expected = [[2, 6, 8, 3], [2, 7, 7, 3], [0, 0, 0, 0], [2, 1, 1, 3], [2, 1, 4, 3]]
    np.testing.assert_array_equal(rows.matrix[:, :4], expected)  # places from 1; 1 is what is not known
    assert program.measured == {"share of training texts of t cut at 4 tokens": 0.25}
    again = FeatureProgram.from_json(program.to_json())
    assert again == program
    np.testing.assert_array_equal(again.compile().matrix(frame.to_dicts()), rows.matrix)
    half = again.compile().one({"t": "\ud800 a", "x": 0.0})  # half a character, which no tokenizer takes
    assert list(half[:4]) == [2, 1, 4, 3]


def test_of_a_text_no_more_characters_are_split_than_its_tokens_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[int]()
    make = tokens._tokenizer

    class Counting:
        def __init__(self, *arguments: object) -> None:
            self.own = make(*arguments)

        def encode(self, text: str) -> object:
            given.append(len(text))
            return self.own.encode(text)

    monkeypatch.setattr(tokens, "_tokenizer", Counting)
    blank = "good" + " " * 200 + "bad"  # of so many tokens, though not of so many characters
    frame = pl.DataFrame({"t": ["good " * 100_000, blank, "a day"], "x": 0.0, "label": 1.0})
    program, rows = tokenized(frame, at_most=4)
    np.testing.assert_array_equal(rows.matrix[:, :4], [[2, 6, 6, 3], [2, 6, 3, 0], [2, 4, 8, 3]])
    assert program.measured == {"share of training texts of t cut at 4 tokens": pytest.approx(2 / 3)}
    np.testing.assert_array_equal(program.compile().matrix(frame.to_dicts()), rows.matrix)
    assert max(given) == 4 * 32


@pytest.mark.parametrize("pooled", [False, True])
def test_its_head_learns_from_texts_and_answers_alike_wherever_it_is_loaded(tmp_path: Path, pooled: bool) -> None:
    frame = texts()
    path = network(tmp_path / "small" / "onnx" / "model.onnx", pooled=pooled)
    _, train = tokenized(frame)
    found = fitted(declared(path.parent.parent), train)  # a folder, as Hugging Face lays it out
    assert ((found.predict(train.matrix) > 0.5) == train.label).all()
    (tmp_path / "bundle").mkdir()
    found.save(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "backbone.onnx").read_bytes() == path.read_bytes()
    loaded = Backbone.load(tmp_path / "bundle")
    np.testing.assert_array_equal(loaded.predict(train.matrix), found.predict(train.matrix))
    alone = [loaded.predict_row(row) for row in train.matrix[:20].tolist()]
    np.testing.assert_array_equal(alone, loaded.predict(train.matrix[:20]))
    nothing = np.zeros((1, train.matrix.shape[1]))  # a missing text is answered, too
    assert np.isfinite(loaded.predict(nothing)).all()
    assert loaded.contributions(nothing).shape == (1, train.matrix.shape[1] + 1)


def test_what_each_token_adds_is_said_exactly(tmp_path: Path) -> None:
    program, train = tokenized(texts())
    found = fitted(declared(network(tmp_path / "n.onnx")), train)
    (row,) = program.transform(pl.DataFrame({"t": ["a good day"], "x": [0.3]}))[:1]
    (added,) = found.contributions(row[None])
    raw = found.predict(row[None])[0]
    assert added.sum() == pytest.approx(np.log(raw / (1 - raw)))
    told = dict(zip(program.features, added, strict=False))
    assert max(told, key=lambda name: told[name]) == "t_token_2", "[CLS] a good day [SEP]"
    assert told["t_token_5"] == 0.0, "behind the last token"
    shown = found.importance()
    assert sum(shown.values()) == pytest.approx(1.0)
    assert shown["x"] < 0.1


def test_to_say_what_tokens_add_a_text_runs_through_the_network_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, train = tokenized(texts())
    fitted(declared(network(tmp_path / "n.onnx")), train).save(tmp_path)
    loaded = Backbone.load(tmp_path)
    ran, vectors = [], loaded.embedder.vectors
    monkeypatch.setattr(loaded.embedder, "vectors", lambda ids: ran.append(ids) or vectors(ids))
    rows = np.vstack([train.matrix[:5], np.zeros(train.matrix.shape[1])])
    assert loaded.contributions(rows).shape == (6, train.matrix.shape[1] + 1)
    assert len(ran) == 5, "one text is missing"
    assert loaded.contributions(rows[:0]).shape == (0, train.matrix.shape[1] + 1)


def test_a_vocabulary_is_read_once_however_often_rows_are_made() -> None:
    program, train = tokenized(texts())
    known = tokens._tokenizer.cache_info()
    for _ in range(3):
        np.testing.assert_array_equal(program.transform(texts()), train.matrix)
        program.compile()
    assert tokens._tokenizer.cache_info().misses == known.misses


def test_vectors_are_remembered_in_the_next_fold_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    embedders = [TextEmbedder(network(tmp_path / "n.onnx").read_bytes()) for _ in range(2)]
    asked = list[bytes]()
    embed = embedders[0].embed
    monkeypatch.setattr(embedders[0], "embed", lambda rows: (asked.append(rows.tobytes()), embed(rows))[1])
    rows = np.array([[1, 4 + at % 4, 4 + at // 4] for at in range(12)], float)
    each = 3 * 4 + 2 * 8
    monkeypatch.setattr(text_backbone, "_REMEMBERED_BYTES", 8 * each)
    monkeypatch.setattr(Remembering, "_networks", OrderedDict())
    first = Remembering(b"one network", embedders[0])
    np.testing.assert_array_equal(first(rows), embed(rows))
    assert len(asked) == 12
    np.testing.assert_array_equal(first(rows), embed(rows))
    assert len(asked) == 12 + 4, "eight of twelve are still there"
    other = Remembering(b"another network", embedders[1])
    other(rows[:2])
    first(rows[:4])
    assert len(asked) == 16 + 4, "the network asked least lately made room"
    other(rows[:2])
    first(rows[:4])
    assert len(asked) == 20, "there is room for both"


def test_a_network_is_hashed_once_a_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, hashed = network(tmp_path / "n.onnx"), list[int]()
    sha256 = hashlib.sha256
    monkeypatch.setattr(
        text_backbone.hashlib, "sha256", lambda content: (hashed.append(len(content)), sha256(content))[1]
    )
    fitted(declared(path), tokenized(texts())[1])
    assert hashed.count(len(path.read_bytes())) == 1


def test_of_several_classes_each_has_contributions(tmp_path: Path) -> None:
    _, train = tokenized(texts())
    three = np.arange(len(train.label)) % 3
    train = replace(train, label=three.astype(float), task="multiclass_classification", classes=("p", "q", "r"))
    found = fitted(declared(network(tmp_path / "n.onnx")), train)
    added = found.contributions(train.matrix[:5])
    assert added.shape == (5, 3, train.matrix.shape[1] + 1)
    scores = found.predict(train.matrix[:5])
    away = added.sum(axis=-1)
    np.testing.assert_allclose(np.exp(away) / np.exp(away).sum(axis=1, keepdims=True), scores)


@pytest.mark.parametrize(
    ("made", "change", "said"),
    [
        ({}, {"backbone": "none"}, "the file of the backbone none.*no such file.*nothing is downloaded"),
        ({"names": ("pictures",)}, {}, "inputs input_ids, attention_mask.*found pictures tensor"),
        ({}, {"text": "x"}, "the tokens of x among the features"),
    ],
)
def test_a_network_that_takes_no_texts_is_refused(tmp_path: Path, made: dict, change: dict, said: str) -> None:
    path = network(tmp_path / "n.onnx", **made)
    _, train = tokenized(texts())
    with pytest.raises(TrainingError, match=f"(?s){said}"):
        fitted(declared(path, **change), train)


def test_a_tokenizer_of_another_network_is_refused(tmp_path: Path) -> None:
    _, train = tokenized(texts())
    train.matrix[0, 2] = 30_000
    with pytest.raises(TrainingError, match="the largest with place 29999"):
        fitted(declared(network(tmp_path / "n.onnx")), train)


def test_what_is_no_tokenizer_is_refused_and_a_folder_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    step, frame = Tokens(tokens=("t",), tokenizer=".", at_most=4), pl.DataFrame({"t": ["a"]})
    with pytest.raises(TrainingError, match="JSON in the tokenizer"):
        step.fit(frame, FitContext(folder=tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TrainingError, match="a tokenizer as Hugging Face's"):
        step.fit(frame, FitContext(folder=tmp_path))
    (tmp_path / "tokenizer.json").rename(tmp_path / "vocab.txt")
    with pytest.raises(TrainingError, match=r"tokenizer\.json in the folder.*found vocab\.txt"):
        step.fit(frame, FitContext(folder=tmp_path))


def use_case(folder: Path, **changes: object) -> Path:
    """Write a use case of texts with its network and tokenizer beside it."""
    import tasks.preprocessing

    network(folder / "small" / "model.onnx")
    smallest = Path(tasks.preprocessing.__file__).parent / "smallest_tokenizer.json"
    (folder / "small" / "tokenizer.json").write_bytes(smallest.read_bytes())
    frame = texts(200)
    with (folder / "mail.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["time", "number", "t", "spam"])
        for at, (text, good) in enumerate(frame.select("t", "label").iter_rows()):
            out.writerow([f"2024-01-{at // 24 + 1:02}T{at % 24:02}:00:00Z", at, text, int(not good)])
    written = {
        "name": "mail",
        "title": "Is it spam?",
        "task": "binary_classification",
        "clock": {"column": "time"},
        "keys": ["number"],
        "sources": {"mail": {"kind": "file", "path": "mail.csv"}},
        "columns": {"t": {"type": "text"}},
        "label": {"column": "spam", "available_after": "1d"},
        "features": [{"tokens": ["t"], "tokenizer": "small", "at_most": 8}],
        "model": {"candidates": [{"family": "backbone", "backbone": "small", "text": "t"}]},
        "evaluation": {"holdout": 0.3, "min_rows": 20, "block": "1d"},
        "gates": [{"metric": "roc_auc", "min": 0.7}],
        "monitoring": {"every": "1w", "performance": [{"metric": "roc_auc", "drop": 0.1}]},
        "schedule": {"active": False},
        "start": "2024-01-05T00:00:00Z",
        **changes,
    }
    (folder / "usecase.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    (folder / "suite.yaml").write_text("[]\n")
    return folder


def test_candidates_that_would_misread_tokens_are_refused(tmp_path: Path) -> None:
    both = {"candidates": [{"family": "linear"}, {"family": "backbone", "backbone": "small", "text": "spam"}]}
    with pytest.raises(UseCaseError) as refused:
        load_use_case(str(use_case(tmp_path, model=both)))
    assert "model.candidates.0.family: linear would read the numbers of tokens as quantities" in str(refused.value)
    assert "model.candidates.1.text: no `tokens` of spam among the features; there are those of t" in str(refused.value)


def test_tokens_that_are_not_those_of_a_networks_text_are_refused_beside_it(tmp_path: Path) -> None:
    two = [{"tokens": ["t", "u"], "tokenizer": "small", "at_most": 8}]
    columns = {"t": {"type": "text"}, "u": {"type": "text"}}
    both = [
        {"family": "backbone", "backbone": "small", "text": "t"},
        {"family": "backbone", "backbone": "small", "picture": [3, 1]},
    ]
    with pytest.raises(UseCaseError) as refused:
        load_use_case(str(use_case(tmp_path, features=two, columns=columns, model={"candidates": both})))
    said = str(refused.value)
    assert "candidates.0.text: it reads the tokens of t, and would read those of u as quantities" in said
    assert "candidates.1.picture: the tokens of t, u are no pixels" in said


def test_a_use_case_of_texts_is_checked_to_a_bundle_that_predicts(tmp_path: Path) -> None:
    from flows.checking import check_use_case
    from infra.settings import Settings

    folder, settings = use_case(tmp_path / "mail"), Settings(home=tmp_path / "home")
    found = {each.what: each for each in check_use_case(settings, str(folder))}
    assert all(each.good for each in found.values()), found
    assert "from a bundle of" in found["one prediction"].found
    assert json.loads((folder / "small" / "tokenizer.json").read_text())["model"]["type"] == "WordLevel"
    (folder / "small" / "model.onnx").unlink()
    *_, last = check_use_case(settings, str(folder))
    assert not last.good
    assert "model.onnx or onnx/model.onnx or model.safetensors in the folder small, of the backbone" in last.found
