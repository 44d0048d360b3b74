"""No module outside the tests is longer than a person reads at once: it is cut by subject before."""

from tests.architecture.test_rooms import ROOMS, ROOT

MAX_LINES = 310
"""About 300: a few lines more are no reason to cut."""


def test_no_module_is_longer_than_a_person_reads_at_once() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
    }
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}, "cut these by subject"
