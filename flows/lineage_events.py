"""What each flow run read and wrote, as OpenLineage events: catalogues (Marquez, DataHub, …) draw the lineage of them.

A catalogue that is away holds no run up: what could not be reported is said in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from prefect.runtime import flow_run

from expectations.data import DatasetOrigin
from expectations.errors import DriftwheelError, StackError
from expectations.masking import mask
from infra.settings import Settings
from tasks.collection.addresses import origin_of
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Table
from tasks.stores.pinned import PinnedLake
from tasks.stores.places import Job

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import RunState

NAMESPACE = "driftwheel"
_PRODUCER = f"urn:driftwheel:{version('driftwheel')}"
_SECONDS = 5.0
_log = logging.getLogger("driftwheel.flows")

Described = tuple[DatasetOrigin, dict[str, Any]]
"""A data set and its facets."""
_Sets = Callable[[Job], list[Described]]


def _tables(*names: Table) -> _Sets:
    def described(job: Job) -> list[Described]:
        lake = PinnedLake.of(job.lake)
        return [_table(lake, name) for name in names if lake.version(name) is not None]

    return described


def _table(lake: Lake, name: Table) -> Described:
    """Describe a table of the lake: its columns, never a value, and its version."""
    from openlineage.client import facet_v2 as facets

    address, schema = lake.address(name), lake.scan(name).collect_schema()
    fields = [facets.schema_dataset.SchemaDatasetFacetFields(each, str(kind)) for each, kind in schema.items()]
    return origin_of(address) if "://" in address else DatasetOrigin("file", address), {
        "schema": facets.schema_dataset.SchemaDatasetFacet(fields),
        "version": facets.dataset_version_dataset.DatasetVersionDatasetFacet(str(lake.version(name))),
    }


def _sources(job: Job) -> list[Described]:
    folder, sources = job.usecase.folder, job.usecase.spec.sources
    return [
        (each.origin(folder) or DatasetOrigin(NAMESPACE, f"{job.name}.{name}"), {}) for name, each in sources.items()
    ]


def _model(job: Job) -> list[Described]:
    return [(DatasetOrigin(mask(job.places.tracking) or NAMESPACE, f"models/{job.name}"), {})]


def _service(job: Job) -> list[Described]:
    return [(DatasetOrigin(mask(job.places.service) or NAMESPACE, f"/{job.name}/invocations"), {})]


_READS: dict[str, Sequence[_Sets]] = {
    "collect": (_sources,),
    "train": (_tables("clean"),),
    "deploy": (_model,),
    "monitor": (_service, _tables("raw", "clean")),
    "score": (_model,),
}
_WRITES: dict[str, Sequence[_Sets]] = {
    "collect": (_tables("raw", "clean", "quarantine"),),
    "train": (_model,),
    "deploy": (_service,),
    "monitor": (_tables("predictions", "labels"),),
}


@contextmanager
def reporting_lineage(job: Job, settings: Settings) -> Iterator[None]:
    """Report this flow run's beginning and its end where `DRIFTWHEEL_LINEAGE` says.

    Raises
    ------
    StackError
        If the extra is not installed.
    """
    if not settings.lineage:
        yield
        return
    client, name = client_of(settings.lineage, settings.lineage_key), str(flow_run.flow_name)
    report(client, job, name, "START", settings.lineage)
    try:
        yield
    except BaseException as error:
        report(client, job, name, "FAIL", settings.lineage, error)
        raise
    report(client, job, name, "COMPLETE", settings.lineage)


def client_of(address: str, key: str = "") -> OpenLineageClient:
    """Return what sends events to an address, or adds them to a file; raises as `reporting_lineage`."""
    if find_spec("openlineage") is None:
        raise StackError("openlineage-python, which DRIFTWHEEL_LINEAGE needs", "none", "Install driftwheel[lineage]")
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

    scheme, separator, path = address.partition("://")
    if scheme in ("http", "https") and separator:
        config = HttpConfig(url=address, timeout=_SECONDS, retry={"total": 1})
        if key:
            config.auth = ApiKeyTokenProvider({"apiKey": key})
        return OpenLineageClient(transport=HttpTransport(config), config={})
    file = FileConfig(log_file_path=path if separator else address, append=True)
    return OpenLineageClient(transport=FileTransport(file), config={})


def report(
    client: OpenLineageClient,
    job: Job,
    flow: str,
    state: str,
    address: str,
    error: BaseException | None = None,
    run: str | None = None,
) -> None:
    """Send one event; where it cannot be sent, that is logged.

    Parameters
    ----------
    state : {"START", "COMPLETE", "FAIL"}
    run : str, optional
        Id of the run; this flow run's where not given.
    """
    import requests
    from openlineage.client.event_v2 import RunState

    try:
        client.emit(event_of(job, flow, RunState[state], run or str(flow_run.id), error))
    except (  # RuntimeError is the client's, of a file it cannot add to
        DriftwheelError,
        OSError,
        requests.RequestException,
        RuntimeError,
    ) as fault:
        _log.error("lineage of %s was not reported to %s: %s", flow, mask(address), mask(str(fault))[:300])


def event_of(job: Job, flow: str, state: RunState, run: str, error: BaseException | None = None) -> Any:  # noqa: ANN401
    """Make the event of a run.

    Returns
    -------
    openlineage.client.event_v2.RunEvent
        At the beginning with what is read, at the end with what was written, too: tables with columns and version.
    """
    from openlineage.client import event_v2 as made
    from openlineage.client import facet_v2 as facets

    ended = state is not made.RunState.START
    about: dict[str, Any] = {
        "nominalTime": facets.nominal_time_run.NominalTimeRunFacet(nominalStartTime=job.as_of.isoformat())
    }
    if error is not None:
        words = mask(str(error))[:1000] or type(error).__name__
        about["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(words, "python")
    kind = facets.job_type_job.JobTypeJobFacet("BATCH", "DRIFTWHEEL", "FLOW")
    described = facets.documentation_job.DocumentationJobFacet(job.usecase.spec.title)
    return made.RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        producer=_PRODUCER,
        run=made.Run(run, about),
        job=made.Job(NAMESPACE, f"{job.name}.{flow}", {"jobType": kind, "documentation": described}),
        eventType=state,
        inputs=[made.InputDataset(*origin, facets=said) for sets in _READS.get(flow, ()) for origin, said in sets(job)],
        outputs=[
            made.OutputDataset(*origin, facets=said)
            for sets in (_WRITES.get(flow, ()) if ended else ())
            for origin, said in sets(job)
        ],
    )
