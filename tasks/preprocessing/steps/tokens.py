"""Texts as the tokens of a network that others trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar

import polars as pl
from pydantic import Field

from expectations.errors import TrainingError
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, Kind, Learnt
from expectations.shipped_files import read_shipped
from tasks.preprocessing.reading import to_text
from tasks.preprocessing.texts import FittedText

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
_CHARACTERS = 32
"""Characters of a text that are looked at for each token that is read: splitting a text of megabytes takes seconds."""


@dataclass(frozen=True)
class FittedTokens(FittedText):
    """The first `at_most` tokens of `column`, each by its place in the vocabulary counted from 1; 0 behind the last.

    Attributes
    ----------
    tokenizer : str
        The JSON of `tokenizers.Tokenizer`.
    cut : float
        Share of the training texts that had more tokens, which were not read.
    """

    step: ClassVar[str] = "tokens"

    at_most: int
    tokenizer: str
    cut: float

    @property
    def makes(self) -> tuple[str, ...]:
        """A name for each place."""
        return tuple(f"{self.column}_token_{at}" for at in range(self.at_most))

    @property
    def measured(self) -> Mapping[str, float]:
        """How many texts were cut."""
        return {f"share of training texts of {self.column} cut at {self.at_most} tokens": self.cut}

    def reader(self) -> Callable[[str], Sequence[float]]:
        """Return the function that splits."""
        tokenizer, at_most = _tokenizer(self.tokenizer, self.at_most), self.at_most

        def read(text: str) -> Sequence[float]:
            ids, _ = _split(tokenizer, at_most, text)
            return [number + 1.0 for number in ids] + [0.0] * (at_most - len(ids))

        return read


class Tokens(FeatureStep):
    """Split texts into the tokens of a network that others trained, for the families `backbone` and `torch.text`.

    `tokenizer` is a file `tokenizer.json` of Hugging Face's `tokenizers`, or a folder that holds one: in the use case's
    folder, or in an installed package (`package:path`). Its vocabulary goes into the bundle. Of a longer text the first
    `at_most` tokens are read, those among them that its network begins and ends each text with, and of its characters
    no more than 32 for each of them, so that one long text does not hold up a service; how many texts that cuts is
    said by `driftwheel check` and with each training run. A missing text has no tokens.
    """

    examples: ClassVar = ({"tokens": ["t"], "tokenizer": "tasks.preprocessing:smallest_tokenizer.json", "at_most": 4},)
    fitted: ClassVar = FittedTokens
    makes_categories: ClassVar = False
    makes_tokens: ClassVar = True

    tokens: Columns
    tokenizer: Annotated[str, Field(min_length=1)]
    """Path from the use case's folder, or `package:path` of an installed one."""
    at_most: Annotated[int, Field(ge=4, le=2048)] = 128
    """Tokens of a text that are read, each a feature; what a network was trained with, or less."""

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.tokens, "text")

    def makes(self) -> tuple[str, ...]:
        """Return a column for each token."""
        return tuple(f"{column}_token_{at}" for column in self.tokens for at in range(self.at_most))

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Read the tokenizer, and count what it cuts.

        Raises
        ------
        TrainingError
            If there is no such file, or it holds no tokenizer.
        """
        content = read_shipped(self.tokenizer, context.folder, [FILE], "the tokenizer")
        try:
            text = json.dumps(json.loads(content), ensure_ascii=False, separators=(",", ":"))
        except ValueError as error:
            raise TrainingError(
                f"JSON in the tokenizer {self.tokenizer}", str(error), "Fetch the file again"
            ) from error
        tokenizer = _tokenizer(text, self.at_most)
        return Learnt(
            [
                FittedTokens(column, self.at_most, text, _cut(tokenizer, self.at_most, column, frame))
                for column in self.tokens
            ]
        )


@lru_cache(maxsize=4)
def _tokenizer(text: str, at_most: int) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_padding()
        tokenizer.enable_truncation(at_most)
    except Exception as error:  # it raises Exception itself, whatever is wrong
        raise TrainingError(
            "a tokenizer as Hugging Face's tokenizers writes it", str(error)[:200], "Fetch its tokenizer.json again"
        ) from error
    return tokenizer


def _cut(tokenizer: Tokenizer, at_most: int, column: str, frame: pl.DataFrame) -> float:
    texts = frame.select(to_text(pl.col(column), frame.schema[column]).alias("text"))["text"].drop_nulls()
    repeats = texts.value_counts(name="repeats").iter_rows()
    cut = sum(number for text, number in repeats if _split(tokenizer, at_most, text)[1])
    return cut / len(texts) if len(texts) else 0.0


def _split(tokenizer: Tokenizer, at_most: int, text: str) -> tuple[list[int], bool]:
    """Return the first tokens of a text, and whether there is more of it.

    The tokenizer splits all that it is given before it cuts, and keeps other threads waiting meanwhile.
    """
    some = text[: at_most * _CHARACTERS]
    found = tokenizer.encode(some.encode("utf-8", "replace").decode())  # JSON may hold halves of characters, no UTF-8
    return found.ids, bool(found.overflowing) or len(some) < len(text)
