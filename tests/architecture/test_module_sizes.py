"""No module outside the tests is longer than a person reads at once: it is cut by subject before."""

from tests.architecture.test_rooms import ROOMS, ROOT

MAX_LINES, MAX_LINES_OF_LONGER = 310, 400
"""About 300: a few lines more are no reason to cut."""
LONGER = {
    "infra/serving/app.py",
    "infra/serving/predicting.py",
    "infra/serving/protocol.py",
    "infra/serving/row_reader.py",
    "tasks/collection/collecting.py",
    "tasks/collection/joining.py",
    "tasks/collection/reading.py",
    "tasks/training/judging.py",
}
"""Modules that were longer when this was written: none is added, and whoever cuts one takes it out."""


def test_no_module_is_longer_than_a_person_reads_at_once() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
    }
    longer = {name for name, count in lines.items() if count > MAX_LINES}
    assert longer - LONGER == set(), "cut these by subject"
    assert max(lines.values()) <= MAX_LINES_OF_LONGER
