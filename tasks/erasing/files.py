"""Files of a home that mention a person: reports go, bundles lose their golden rows, what must stay is named."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.bundles.golden_rows import GOLDEN, redact_golden
from tasks.bundles.judged_rows import JUDGED, count_judged, redact_judged
from tasks.bundles.manifest import MANIFEST
from tasks.erasing.words import Words
from tasks.stores.files import storing
from tasks.stores.journal import is_segment
from tasks.stores.personal_keys import PERSONAL_KEYS
from tasks.stores.releases import HISTORY

_ELSEWHERE = {
    *("lake", "platform.db", "mlflow.db", "prefect.db"),
    *("privacy.key", "service.key", "stack.key", "keys.json", PERSONAL_KEYS),
}
"""What is looked into in another way, and secrets."""
LOOKED_FOR = "forgetting"
"""Folder of a home: what an erasure that is not whole yet looks for."""
_SHIPPED = ("prefect", "ui")
"""Folder of a home that Prefect copies the files of its own pages into, as they were installed."""
_REMOVED = {"reports": "reports", "replays": "pages of replays", "artifacts": "files of MLflow"}
"""Folders of a home whose files are made of rows, and can go."""
_JOURNAL = "journal"
_DEPTH = 4
"""Parts of a segment's path in a home: journal, use case, instance, file."""
_BY_USE_CASE = {"releases", _JOURNAL}
"""Folders of a home that have one of each use case."""


@dataclass
class Swept:
    """What was found in files.

    Attributes
    ----------
    counts : Counter of str
        Kind of place -> files that mentioned them, and do no more.
    left : list of str
        What mentions them still, and what to do about it.
    """

    counts: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)


def sweep(
    home: Path,
    words: Words,
    is_theirs: Callable[[Mapping[str, object]], bool],
    served: Collection[str],
    keys: Collection[int],
    *,
    names: Collection[str],
    foreign: Collection[str],
    dry_run: bool,
) -> Swept:
    """Remove files that mention a person, or what in them does.

    What belongs to another use case stays: its keys and values are others'.

    Of a bundle their golden and judged rows go, which it allows (`redact_golden`). Where another of its files
    has one, such as the categories that its features know, that file is removed: the model cannot be served again.
    Unless it is served: then it is named, until another one is.

    Parameters
    ----------
    is_theirs : callable
        Whether a golden row is.
    served : collection of str
        Bundles that are.
    keys : collection of int
        Hashes of keys of their rows, as bundles have them.
    names, foreign : collection of str
        The use case with its replay, and the other ones of the home.
    """
    found = Swept()
    for path in _files(home):
        if _is_foreign(path.relative_to(home), names, foreign):
            continue
        sealed = (path.parent / MANIFEST).exists()
        if sealed:
            _sweep_rows(path, words, is_theirs, keys, found, dry_run=dry_run)
        if _is_journaled(path.relative_to(home)):
            if not dry_run and words.file_has(path):
                found.left.append(f"{path}: run this again, which brings it in first")
            continue
        if not words.file_has(path):
            continue
        top = path.relative_to(home).parts[0]
        if sealed:
            _sweep_bundle(path, served, found, dry_run=dry_run)
        elif path.name == HISTORY:
            found.counts["states of earlier rows"] += 1  # written anew once the rows are erased
        elif top in _REMOVED:
            found.counts[_REMOVED[top]] += 1
            if not dry_run:
                _remove(path)
        else:
            found.left.append(f"{path}: remove it, or what in it mentions them")
    found.left = list(dict.fromkeys(found.left))  # MLflow has a copy of a served bundle
    return found


def _files(home: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        parts = path.relative_to(home).parts
        if (
            parts[0] in _ELSEWHERE
            or parts[0] == LOOKED_FOR
            or parts[: len(_SHIPPED)] == _SHIPPED
            or path.name.removesuffix("-wal").removesuffix("-shm") in _ELSEWHERE
        ):
            continue
        if path.is_file() and not path.is_symlink():
            yield path


def _is_foreign(path: Path, names: Collection[str], foreign: Collection[str]) -> bool:
    """Whether a file lies in another use case's folder, or is called after it."""
    first, *rest = path.parts
    if first in _BY_USE_CASE and len(rest) > 1:
        return rest[0] not in names
    return any(part in foreign for part in (*path.parts, path.stem))


def _is_journaled(path: Path) -> bool:
    """Whether a file is a segment that the harvest brings in: the row is erased from the table then."""
    return path.parts[0] == _JOURNAL and len(path.parts) == _DEPTH and is_segment(path)


def _sweep_rows(
    path: Path,
    words: Words,
    is_theirs: Callable[[Mapping[str, object]], bool],
    keys: Collection[int],
    found: Swept,
    *,
    dry_run: bool,
) -> None:
    """Take the rows of theirs that a bundle keeps out of the file that has some."""
    if path.name == GOLDEN:
        _sweep_golden(path, words, is_theirs, found, dry_run=dry_run)
    if path.name == JUDGED and (theirs := count_judged(path.parent, keys)):
        found.counts["judged rows"] += theirs
        if not dry_run:
            redact_judged(path.parent, keys)


def _sweep_golden(
    path: Path, words: Words, is_theirs: Callable[[Mapping[str, object]], bool], found: Swept, *, dry_run: bool
) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    theirs = [place for place, row in enumerate(rows) if is_theirs(row) or words.within(json.dumps(row))]
    if theirs:
        found.counts["golden rows"] += len(theirs)
        if not dry_run:
            redact_golden(path.parent, theirs)


def _sweep_bundle(path: Path, served: Collection[str], found: Swept, *, dry_run: bool) -> None:
    if path.name == GOLDEN:  # counted, as far as nothing is written
        return
    digest = hashlib.sha256((path.parent / MANIFEST).read_bytes()).hexdigest()
    if digest in served:
        what = "train on what is left, and run this again once that model is served"
        found.left.append(f"{path.name} of the bundle {digest[:12]}, which is served: {what}")
    elif path.name != MANIFEST:
        found.counts["files of models that are served no more"] += 1
        if not dry_run:
            _remove(path)
    else:
        found.left.append(f"{path}: it says what all answers of this model mean")


def _remove(path: Path) -> None:
    with storing("remove what mentions a person,", path):
        path.unlink(missing_ok=True)
