"""What no table can hold is said once for each cause, however long it goes on coming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from infra.settings import Settings
from tasks.monitoring.findings import note
from tasks.monitoring.harvesting import note_unharvested
from tasks.stores.harvest import harvest
from tasks.stores.journal import Feedback, pack
from tasks.stores.places import Job
from tests.conftest import instant

AT = "2026-01-02T00:00:00.000000Z"


def test_a_task_that_was_changed_under_its_name_is_one_finding_until_its_files_are_moved_away(
    make_use_case: Callable[..., Path], tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home")
    job = Job(settings.use_case(str(make_use_case("rentals"))), settings.places(), instant("2026-02-01"))
    folder = job.places.journal / job.name / "i"
    folder.mkdir(parents=True)

    def come(number: int, *content: bytes) -> None:
        (folder / f"feedback-{number:08}.msgpack").write_bytes(b"".join(content))
        harvest(job.places.journal, job.name, job.lake)
        note_unharvested(job)

    note(job, "unreadable/x", "unharvested", "as before", "unharvested", finding="unharvested-0123456789ab")
    come(0, pack(Feedback(AT, ["n"], [1.0])))
    (former,) = job.database.findings(job.name)
    assert (former.open, former.resolved_how) == (False, "one finding says so of all such files")
    for number in (1, 2, 3):
        come(number, pack(Feedback(AT, [f"t{number}"], ["yes"])))
    (found,) = job.database.open_findings(job.name)
    kept = folder.parent / "unreadable" / "labels-got-texts-for-numbers"
    assert (found.key, found.severity) == ("unharvested-labels-got-texts-for-numbers", "failure")
    assert found.body.startswith(
        "The table `labels` holds numbers, and texts come: give the changed task another name; what came is kept in "
        f"{kept}: 3 files, the newest feedback-00000003-i"
    )
    assert found.evidence == {"folder": str(kept), "files": 3, "newest": "feedback-00000003-i"}
    come(4, b"what no journal holds \xc1", pack(Feedback(AT, ["m"], [1.0])))
    assert {each.key for each in job.database.open_findings(job.name)} == {found.key, "unharvested"}
    assert len(job.database.entries(job.name)) == 3
    for path in (*kept.iterdir(), kept.parent / "feedback-00000004-i"):
        path.rename(tmp_path / path.name)
    note_unharvested(job)
    assert job.database.open_findings(job.name) == []
    assert {each.resolved_how for each in job.database.findings(job.name)[:2]} == {"they were moved away"}
