"""Write small encoders, and what they say of some tokens, by transformers: what ours is held to.

    make.py

Run once, with transformers 5.24.0 and torch 2.13.0; neither the tests nor driftwheel need transformers.
"""

import json
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertForMaskedLM, RobertaConfig, RobertaModel

HERE = Path(__file__).parent
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
SHAPE = {"vocab_size": 20, "initializer_range": 0.5}
ROWS = [[2, 5, 6, 7, 3], [2, 9, 3, 0, 0], [2, 19, 4, 3, 0]]


def main() -> None:
    """Write a folder for each layout."""
    torch.manual_seed(0)
    made = {
        "bert": BertModel(BertConfig(**SIZES, **SHAPE, max_position_embeddings=10)),
        "roberta": RobertaModel(RobertaConfig(**SIZES, **SHAPE, max_position_embeddings=12, pad_token_id=1)),
        "distilbert": DistilBertForMaskedLM(
            DistilBertConfig(**SHAPE, dim=8, n_layers=2, n_heads=2, hidden_dim=12, max_position_embeddings=10)
        ),
    }
    for name, model in made.items():
        with torch.no_grad():
            for each in model.parameters():  # also what begins as zeros or ones
                each.add_(0.1 * torch.randn_like(each))
        model.eval().save_pretrained(HERE / name)
        padding = model.config.pad_token_id
        ids = torch.tensor(ROWS) if padding == 0 else torch.tensor(ROWS).where(torch.tensor(ROWS) > 0, padding)
        seen = (torch.tensor(ROWS) > 0).long()
        with torch.no_grad():
            body = model.distilbert if name == "distilbert" else model
            said = body(input_ids=ids, attention_mask=seen).last_hidden_state
        held = {"ids": ids.tolist(), "seen": seen.tolist(), "said": said.tolist()}
        (HERE / name / "said.json").write_text(json.dumps(held) + "\n")


if __name__ == "__main__":
    main()
