"""Encoders of texts in the layout of Hugging Face: what is read of them, what they say, and what is refused unread."""

import inspect
import json
import shutil
from importlib.metadata import entry_points, requires
from pathlib import Path

import numpy as np
import pytest

from expectations.errors import TrainingError
from tasks.modelling.backbone import Backbone
from tasks.modelling.text_backbone import TextEmbedder
from tests.conftest import needs_torch
from tests.unit.test_text_backbone import fitted, texts, tokenized

pytestmark = needs_torch
RECORDS = Path(__file__).parents[1] / "records" / "encoders"
LAYOUTS = ["bert", "roberta", "distilbert"]


def copied(folder: Path, layout: str = "bert", **changes: object) -> Path:
    """Copy the files of a recorded encoder, its config.json with other values."""
    shutil.copytree(RECORDS / layout, folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return folder


def rewritten(folder: Path, change) -> None:
    """Write model.safetensors anew, its weights by name as `change` returns them."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({name: value.contiguous() for name, value in change(load_file(path)).items()}, path)


def said_by(folder: Path):
    """Return what our encoder says of the recorded rows, what transformers said, and which tokens are read."""
    import torch

    from tasks.modelling.encoder_files import read_encoder
    from tasks.modelling.encoders import Encoder

    record = json.loads((folder / "said.json").read_text())
    ids, seen = torch.tensor(record["ids"]), torch.tensor(record["seen"]) > 0
    with torch.inference_mode():
        found = Encoder(read_encoder(folder / "model.safetensors")).eval()(ids, seen)
    return found.numpy(), np.array(record["said"]), seen.numpy()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_encoder_says_what_transformers_said_of_the_same_weights(layout: str) -> None:
    found, expected, read = said_by(RECORDS / layout)
    assert expected[read].std() > 0.5
    np.testing.assert_allclose(found[read], expected[read], rtol=0, atol=5e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_graph_says_the_same_without_torch(layout: str) -> None:
    from tasks.modelling.encoder_files import digest_of
    from tasks.modelling.encoders import frozen_graph

    path = RECORDS / layout / "model.safetensors"
    content = frozen_graph(path, digest_of(path))
    _, expected, read = said_by(RECORDS / layout)
    ids = np.array(json.loads((path.parent / "said.json").read_text())["ids"])
    embedder = TextEmbedder(content)
    for row, some, said in zip(ids, read, expected, strict=True):
        np.testing.assert_allclose(embedder.vectors(row[some].astype(float)), said[some], rtol=0, atol=5e-6)
    frozen_graph.cache_clear()
    assert frozen_graph(path, digest_of(path)) == content, "the same bytes for the same weights"


def test_old_names_half_floats_and_a_prefix_are_read(tmp_path: Path) -> None:
    def older(weights):
        import torch

        def old(name: str) -> str:
            return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

        return {f"bert.{old(name)}": value.to(torch.float16) for name, value in weights.items()}

    folder = copied(tmp_path / "old")
    rewritten(folder, older)
    found, expected, read = said_by(folder)
    np.testing.assert_allclose(found[read], expected[read], rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "deberta"}, "model_type in broken/config.json"),
        ({"hidden_act": "gelu_new"}, "hidden_act in broken/config.json: Input should be 'gelu' or 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type in broken/config.json"),
        ({"auto_map": {"AutoModel": "own.Own"}}, "without code of its own; found auto_map in broken/config.json"),
        ({"is_decoder": True}, "is_decoder in broken/config.json"),
        ({"num_hidden_layers": 3}, r"expected encoder.layer.2.\S+ of shape .* in model.safetensors.*; found none"),
        ({"intermediate_size": 99}, r"of shape \(99, 8\) in model.safetensors.*; found shape \(12, 8\)"),
        ({"num_hidden_layers": 10**9}, r"weights of 1,000,000,000 layers in model.safetensors.*; found \d+ weights"),
        ({"vocab_size": 900_000_000}, "at most 2 GB.*found 28.8 GB"),
        ({"hidden_size": 10**30}, "at most 2 GB"),
        ({"num_attention_heads": 3}, "broken/config.json: Value error, 3 heads of attention do not share 8 numbers"),
        ({"model_type": "roberta", "pad_token_id": 500}, "padding 500 leaves no place in a table of"),
        ({"model_type": "roberta", "pad_token_id": -5}, "padding -5 leaves no place in a table of"),
    ],
)
def test_what_it_is_not_is_said(tmp_path: Path, changes: dict, said: str) -> None:
    from tasks.modelling.encoder_files import read_encoder

    folder = copied(tmp_path / "broken", **changes)
    with pytest.raises(TrainingError, match=f"(?s){said}"):
        read_encoder(folder / "model.safetensors")


def test_weights_that_are_no_numbers_are_not_released(tmp_path: Path) -> None:
    from tasks.modelling.encoders import frozen_graph

    folder = copied(tmp_path / "odd")
    rewritten(folder, lambda weights: {name: value * float("nan") for name, value in weights.items()})
    with pytest.raises(TrainingError, match="Check that its weights are finite"):
        frozen_graph(folder / "model.safetensors", b"")


def frozen(folder: Path, **fields: object) -> Backbone:
    return Backbone(**{"family": "backbone", "backbone": str(folder), "text": "t", "l2": 0.01, **fields})


def test_a_folder_of_hugging_face_is_a_frozen_backbone_and_is_served_from_a_copy(tmp_path: Path) -> None:
    _, train = tokenized(texts())
    folder = copied(tmp_path / "bert")
    found = fitted(frozen(folder), train)
    assert ((found.predict(train.matrix) > 0.5) == train.label).mean() > 0.8, "its weights were drawn by lot"
    (tmp_path / "bundle").mkdir()
    found.save(tmp_path / "bundle")
    shutil.rmtree(folder)
    loaded = Backbone.load(tmp_path / "bundle")
    np.testing.assert_array_equal(loaded.predict(train.matrix), found.predict(train.matrix))


def test_onnx_is_taken_before_weights_where_a_folder_has_both(tmp_path: Path) -> None:
    from tests.unit.test_text_backbone import network

    folder = copied(tmp_path / "both")
    path = network(folder / "onnx" / "model.onnx")
    found = fitted(frozen(folder), tokenized(texts())[1])
    (tmp_path / "bundle").mkdir()
    found.save(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "backbone.onnx").read_bytes() == path.read_bytes()


def test_a_folder_says_what_it_lacks_and_how_to_fetch_it(tmp_path: Path) -> None:
    _, train = tokenized(texts())
    folder = copied(tmp_path / "bert")
    (folder / "config.json").unlink()
    with pytest.raises(TrainingError, match=r"(?s)config\.json in the folder.*hf download OWNER/NAME.*nothing is down"):
        fitted(frozen(folder), train)
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    shutil.copy(RECORDS / "bert" / "config.json", folder)
    with pytest.raises(TrainingError, match=r"(?s)format of safetensors.*Fetch it again: `hf download"):
        fitted(frozen(folder), train)


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    folder = copied(tmp_path / "bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").chmod(0)
    said = r"(?s)pytorch_model\.bin is not read: a pickle may run code.*save_pretrained"
    with pytest.raises(TrainingError, match=said):
        fitted(frozen(folder), tokenized(texts())[1])


def test_more_tokens_than_it_has_positions_for_are_refused(tmp_path: Path) -> None:
    _, train = tokenized(texts(), at_most=11)
    with pytest.raises(TrainingError, match=r"at most 10 tokens.*found 11.*Lower `at_most` of `tokens` to 10"):
        fitted(frozen(copied(tmp_path / "bert")), train)
    fitted(frozen(RECORDS / "roberta"), tokenized(texts(), at_most=10)[1])  # two of its twelve places are not texts'


def test_the_command_that_fetches_beforehand_is_there_and_takes_these() -> None:
    (found,) = entry_points(group="console_scripts", name="hf")
    assert found.dist is not None
    assert found.dist.name == "huggingface_hub"
    from huggingface_hub.cli.download import download

    assert {"repo_id", "filenames", "local_dir"} <= inspect.signature(download).parameters.keys()
    assert any(each.startswith("huggingface-hub") for each in requires("tokenizers") or ()), "which driftwheel needs"
