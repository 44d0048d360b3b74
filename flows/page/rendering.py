"""How pages are rendered: the templates, what they are given, and what stands where something goes wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from flows.page import bar_charts, charts, service_charts
from flows.page.answers import Answers
from flows.page.doing import Doing
from flows.page.known import UseCases
from flows.page.people import Visitor, logins, person
from flows.page.servers import Servers
from flows.page.window_table import window_rows
from flows.page.words import ago, exact, sentence, span, worded
from infra.settings import Settings
from tasks.stores.model_words import MODEL_PAGES

HERE = Path(__file__).parent
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # without a referrer browsers send forms with the Origin null, which is refused
    "cache-control": "no-store",
}


class Shared:
    """What the pages share: what is read, who is asked, and the templates.

    Parameters
    ----------
    settings : Settings
    behind_login : bool
        Whether a login in front says who asks; `page_operators` of the settings names those who may do more than look.
    """

    def __init__(self, settings: Settings, *, behind_login: bool = False) -> None:
        self.settings = settings
        self._operators = logins(settings.page_operators) if behind_login else None
        self.use_cases, self.servers = UseCases(settings), Servers(settings)
        self.doing = Doing(settings, self.servers)
        self.database = settings.platform()
        self._templates = environment()

    def person(self, request: Request) -> Visitor:
        """Return who asks, and whether they may do more than look."""
        return person(request.headers, self._operators)

    def show(self, template: str, answers: Answers, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401
        """Render a page."""
        shared = {
            "addresses": self.servers.addresses,
            "away": answers.away,
            "home": str(self.settings.folder),
            "stamp": _stamp(),
        }
        text = self._templates.get_template(template).render(shared | values)
        return HTMLResponse(text, status, HEADERS)

    async def not_found(self, _: Request, error: Exception) -> Response:
        """Say that there is no such page, or what is wrong with a request."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        said = error.detail if isinstance(error, HTTPException) else str(error)
        title = "Not here" if status == 404 else "Not done"
        return self.show("problem.html", Answers(), status, title=title, said=said)

    async def trouble(self, _: Request, error: Exception) -> Response:
        """Say what the platform itself says is wrong."""
        return self.show("problem.html", Answers(), 503, title="This cannot be read now", said=str(error))


@cache
def _stamp() -> str:
    """Return what changes when a static file does, so that browsers ask for it again."""
    digest = hashlib.sha256()
    for path in sorted((HERE / "static").iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


@cache
def environment() -> Environment:
    """Return the templates, with what they are written by; a process compiles each once."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,  # of a process that runs, templates and code belong together
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Callable[..., str]] = {
        "number": charts.number,
        "seconds": charts.seconds,
        "ago": ago,
        "exact": exact,
        "span": span,
        "sentence": sentence,
        "worded": worded,
    }
    made.filters.update(filters)
    made.globals.update(
        model_pages=MODEL_PAGES,
        spark=charts.spark,
        course=charts.course,
        drift_chart=charts.drift,
        arrivals_chart=bar_charts.arrivals,
        causes_parts=charts.parts,
        beam=bar_charts.beam,
        swatch=bar_charts.swatch,
        two_distributions=bar_charts.two_distributions,
        requests_chart=service_charts.requests_chart,
        times_chart=service_charts.times_chart,
        health_strip=service_charts.health_strip,
        window_rows=window_rows,
    )
    return made
