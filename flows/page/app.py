"""The page as an application: addresses, what is read for each, and the templates it is shown by."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import httpx
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from expectations.durations import spoken
from expectations.errors import DriftwheelError
from expectations.usecase import NAME_PATTERN
from flows.page import charts, reading
from flows.page.doing import ACTIONS, FLOWS, Action, Doing, person, said
from flows.page.known import UseCases
from flows.page.measured import Drifted, Measured
from flows.page.servers import Answers, Deployed, Run, Servers, model_link, per_minute, run_link
from flows.page.shown import Distributions
from flows.page.versions import version_of
from infra.settings import Settings
from tasks.stores.plain import to_json

HERE = Path(__file__).parent
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # without a referrer browsers send forms with the Origin null, which is refused
    "cache-control": "no-store",
}
MAX_FORM = 16_384


class Page:
    """What the handlers share.

    Parameters
    ----------
    settings : Settings
    behind_login : bool
        Whether a login in front says who asks.
    """

    def __init__(self, settings: Settings, *, behind_login: bool = False) -> None:
        self.settings, self._behind_login = settings, behind_login
        self.use_cases, self.servers = UseCases(settings), Servers(settings)
        self.doing = Doing(settings, self.servers)
        self.database = settings.platform()
        self._templates = _environment()

    def show(self, template: str, answers: Answers, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401
        """Render a page."""
        shared = {
            "addresses": self.servers.addresses,
            "away": answers.away,
            "home": str(self.settings.folder),
            "stamp": _stamp(),
        }
        text = self._templates.get_template(template).render(**shared, **values)
        return HTMLResponse(text, status, HEADERS)

    # --- pages ----------------------------------------------------------------------------------------------------

    async def overview(self, request: Request) -> Response:
        """Show all use cases; of `/cards` the part alone that is asked for again."""
        answers = await self.servers.answers()
        cards = await asyncio.to_thread(reading.overview, self.use_cases, self.database, reading.now())
        tally = Counter((card.state.word, card.state.tone) for card in cards)
        latest: dict[str, Run] = {}
        for run in reversed(answers.runs):
            if run.start is not None:
                latest[run.usecase] = run
        return self.show(
            "cards.html" if request.url.path == "/cards" else "overview.html",
            answers,
            cards=cards,
            live=[card for card in cards if not card.replay],
            replays=[card for card in cards if card.replay],
            tally=[(word, tone, count) for (word, tone), count in tally.most_common()],
            attention=sum(card.state.tone in ("bad", "worse") and not card.replay for card in cards),
            going=any(card.busy for card in cards) or any(run.going for run in answers.runs),
            runs=latest,
            coming={card.name: answers.next_of(card.name) for card in cards},
        )

    async def as_json(self, _: Request) -> Response:
        """Say of all use cases what their cards say."""
        cards = await asyncio.to_thread(reading.overview, self.use_cases, self.database, reading.now())
        return Response(to_json(cards), media_type="application/json", headers=HEADERS)

    async def live(self, request: Request) -> Response:
        """Show of a use case the part alone that is asked for again."""
        name = request.path_params["name"]
        answers = await self.servers.answers()
        live = await asyncio.to_thread(reading.live, self.use_cases, self.database, name, reading.now())
        if live is None:
            raise _no_use_case(name)
        return self.show("live.html", answers, **await self._running(name, answers, live))

    async def _running(self, name: str, answers: Answers, live: reading.Live) -> dict[str, Any]:
        """Return what the part that is asked for again is shown by."""
        runs, errands = answers.runs_of(name), self.doing.errands(name)
        latest: dict[str, Run] = {}
        for run in runs:
            latest.setdefault(run.flow, run)
        wanted = [latest[flow] for flow in ("collect", "train", "deploy", "monitor") if flow in latest]
        return {
            "name": name,
            "card": live.card,
            "stages": live.stages,
            "latest": latest,
            "seconds": await self.servers.stage_seconds(name, wanted),
            "errands": errands,
            "going": live.card.busy or any(run.going for run in runs) or any(each.going for each in errands),
            "runs": [(run, run_link(self.servers.addresses, run)) for run in runs[:8]],
        }

    async def use_case(self, request: Request) -> Response:
        """Show a use case."""
        name = request.path_params["name"]
        most = _number(request.query_params.get("windows"), reading.WINDOWS, reading.MAX_WINDOWS)
        kind = request.query_params.get("kind", "")
        before = _number(request.query_params.get("before"), 0, 2**62) or None
        answers = await self.servers.answers()
        now = reading.now()
        view = await asyncio.to_thread(reading.view, self.use_cases, self.database, name, now, most)
        if view is None:
            raise _no_use_case(name)
        shown = kind if kind in reading.KINDS else ""
        lines, older = await asyncio.to_thread(reading.ledger, self.database, name, shown, before)
        running = await self._running(name, answers, view.live)
        experiment = await self.servers.experiment(name)
        mlflow = self.servers.addresses.get("MLflow", "")
        return self.show(
            "use_case.html",
            answers,
            **running,
            view=view,
            deployed=answers.deployed_of(name),
            coming=answers.next_of(name),
            counts=answers.counts.get(name),
            pace=per_minute(self.servers.history, name),
            backtest=self._backtest(name) is not None,
            errors={kind: seen for (usecase, kind), seen in self.servers.errors.items() if usecase == name},
            lines=lines,
            found=await asyncio.to_thread(reading.findings, self.database, name),
            tones=reading.SEVERITY_TONES,
            older=older,
            kind=kind,
            kinds=reading.KINDS,
            drift_columns=_by_column(view.windows),
            model=lambda version: model_link(self.servers.addresses, name, version),
            tracking=lambda run: f"{mlflow}/#/experiments/{experiment}/runs/{run}" if experiment and mlflow else "",
        )

    async def entry(self, request: Request) -> Response:
        """Show one entry of the ledger with its evidence."""
        name, answers = request.path_params["name"], await self.servers.answers()
        found = await asyncio.to_thread(reading.entry, self.database, name, request.path_params["number"])
        if found is None:
            raise HTTPException(404, "The ledger has no such entry.")
        line, evidence = found
        report = str(evidence.get("report") or "")
        report = report if report.startswith(("http://", "https://")) else ""
        text = to_json(evidence, indent=1)
        return self.show("entry.html", answers, name=name, line=line, evidence=text, report=report)

    async def version(self, request: Request) -> Response:
        """Show what a version reached on rows it had not seen."""
        name, bundle = request.path_params["name"], request.path_params["bundle"]
        answers = await self.servers.answers()
        found = await asyncio.to_thread(version_of, self.settings, name, bundle)
        if found is None:
            raise HTTPException(404, "No such bundle of it lies here.")
        return self.show("version.html", answers, name=name, version=found)

    async def drift(self, request: Request) -> Response:
        """Show how a column was distributed in training and in a window."""
        name, column = request.path_params["name"], request.query_params.get("column", "")
        answers = await self.servers.answers()
        view = await asyncio.to_thread(reading.view, self.use_cases, self.database, name, reading.now())
        windows = [each for each in (view.windows if view else ()) if any(one.column == column for one in each.drift)]
        if not windows:
            raise HTTPException(404, "No window that is shown knows such a column of it.")
        asked = request.query_params.get("window", "")
        window = next((each for each in windows if each.start == asked), windows[-1])
        return self.show(
            "drift.html",
            answers,
            name=name,
            column=column,
            window=window,
            told=next((each for each in window.drift if each.column == column), None),
            shown=await asyncio.to_thread(_distributions, self.settings, name, window, column),
            others=windows[-12:],
        )

    async def backtest(self, request: Request) -> Response:
        """Give the picture of a use case's last backtest."""
        picture = self._backtest(request.path_params["name"])
        if picture is None:
            raise HTTPException(404, "No backtest of it was walked here.")
        return FileResponse(picture, headers=HEADERS)

    def _backtest(self, name: str) -> Path | None:
        picture = self.settings.folder / "backtests" / f"{name}.png"
        return picture if re.fullmatch(NAME_PATTERN, name) and picture.is_file() else None

    async def finding(self, request: Request) -> Response:
        """Show a finding: what, since when, why, what was done, what to do, and how it was resolved."""
        name, key = request.path_params["name"], request.path_params["key"]
        number = _number(request.query_params.get("id"), 0, 2**62) or None
        answers = await self.servers.answers()
        found = await asyncio.to_thread(reading.finding, self.database, name, key, number)
        if found is None:
            raise HTTPException(404, f"Nothing of that kind was found of {name}.")
        registered = await asyncio.to_thread(self.database.use_cases)
        return self.show(
            "finding.html",
            answers,
            name=name,
            finding=found,
            lines=reading.told(found.body),
            tones=reading.SEVERITY_TONES,
            evidence=to_json(found.evidence, indent=1),
            doable=name in registered,
        )

    # --- doing --------------------------------------------------------------------------------------------------------

    async def ask(self, request: Request) -> Response:
        """Ask once whether something is to be done; where that is confirmed, do it."""
        name, action = request.path_params["name"], ACTIONS.get(request.path_params["action"])
        registered = await asyncio.to_thread(self.database.use_cases)
        if action is None or name not in registered:
            raise HTTPException(404, "There is nothing of that name to do for a use case that is registered.")
        answers = await self.servers.answers()
        deployed = answers.deployed_of(name)
        who, wrong = person(request.headers, behind_login=self._behind_login), ""
        if request.method == "POST":
            given = await _form(request)
            told, wrong = given.get("told", ""), ""
            if not self.doing.takes(request.url.path, given.get("token", "")):
                wrong = "This form is from before the page was started again, or of another page. Ask once more."
            else:
                wrong = self._refusal(action, told, deployed)
            if not wrong:
                try:
                    await self.doing.do(action, name, told, who, deployed)
                except (DriftwheelError, httpx.HTTPError) as error:
                    wrong = said(error)
                else:
                    return RedirectResponse(f"/usecases/{name}", 303, HEADERS)
        else:
            told = request.query_params.get("told", "")
        versions = None
        if action.takes == "version":
            versions = await self.servers.versions(name)
            if versions is None:
                silent = "MLflow does not say which versions there are. Start it (`driftwheel up`), then ask again."
                wrong, versions = wrong or silent, []
        return self.show(
            "confirm.html",
            answers,
            409 if request.method == "POST" else 200,
            name=name,
            action=action,
            told=told,
            back=f"/usecases/{name}" + (f"/findings/{quote(told)}" if action.takes == "finding" else ""),
            wrong=wrong,
            versions=versions,
            who=who,
            path=request.url.path,
            token=self.doing.token(request.url.path),
        )

    def _refusal(self, action: Action, told: str, deployed: Mapping[str, Deployed]) -> str:
        """Say why something cannot be asked for; empty where it can."""
        if action.takes == "version" and not (told.isascii() and told.isdecimal()):
            return "Choose a version."
        flow = action.name if action.name in FLOWS else told if action.takes == "flow" else ""
        if flow and flow not in deployed:
            return f"Prefect knows no {flow} of it: is it up, and the runner? `driftwheel status` shows that."
        if action.takes == "flow" and not deployed[flow].schedule:
            return f"{flow} has no schedule."
        return ""

    # --- what goes wrong --------------------------------------------------------------------------------------------

    async def not_found(self, _: Request, error: Exception) -> Response:
        """Say that there is no such page, or what is wrong with a request."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        said = error.detail if isinstance(error, HTTPException) else str(error)
        title = "Not here" if status == 404 else "Not done"
        return self.show("problem.html", Answers(), status, title=title, said=said)

    async def trouble(self, _: Request, error: Exception) -> Response:
        """Say what the platform itself says is wrong."""
        return self.show("problem.html", Answers(), 503, title="This cannot be read now", said=str(error))


def application(settings: Settings, *, behind_login: bool = False) -> Starlette:
    """Return the page of a home."""
    page = Page(settings, behind_login=behind_login)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await page.doing.close()
            await page.servers.close()

    return Starlette(
        routes=[
            Route("/livez", lambda _: PlainTextResponse("ok")),
            Route("/", page.overview),
            Route("/cards", page.overview),
            Route("/usecases.json", page.as_json),
            Route("/usecases", lambda _: RedirectResponse("/")),
            Route("/usecases/{name}", page.use_case),
            Route("/usecases/{name}/live", page.live),
            Route("/usecases/{name}/entries/{number:int}", page.entry),
            Route("/usecases/{name}/versions/{bundle}", page.version),
            Route("/usecases/{name}/backtest.png", page.backtest),
            Route("/usecases/{name}/drift", page.drift),
            Route("/usecases/{name}/findings/{key:path}", page.finding),
            Route("/usecases/{name}/do/{action}", page.ask, methods=["GET", "POST"]),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        exception_handlers={HTTPException: page.not_found, DriftwheelError: page.trouble},
        lifespan=lifespan,
    )


def _no_use_case(name: str) -> HTTPException:
    return HTTPException(404, f"No use case is called {name}. See the overview for those there are.")


def _distributions(settings: Settings, name: str, window: Measured, column: str) -> Distributions:
    from flows.page.distributions import distributions  # numpy, polars and the lake, for those who ask

    return distributions(settings, name, window, column)


async def _form(request: Request) -> dict[str, str]:
    """Read a form; the last of each name."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM:
            raise HTTPException(413, "That is no form of this page: it is too large.")
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _by_column(windows: Sequence[Measured]) -> list[tuple[str, list[Drifted | None]]]:
    """Return what was found of each column of the newest window over time, those that drifted last first."""
    by_window = [{each.column: each for each in window.drift} for window in windows]
    newest = by_window[-1] if by_window else {}
    order = sorted(newest, key=lambda column: (not newest[column].drifted, -(newest[column].score or 0.0)))
    return [(column, [found.get(column) for found in by_window]) for column in order]


def _number(text: str | None, otherwise: int, most: int) -> int:
    return min(int(text), most) if text and text.isdecimal() and len(text) < 20 and int(text) else otherwise


@cache
def _stamp() -> str:
    """Return what changes when a static file does, so that browsers ask for it again."""
    digest = hashlib.sha256()
    for path in sorted((HERE / "static").iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def _environment() -> Environment:
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
        spark=charts.spark,
        course=charts.course,
        drift_chart=charts.drift,
        arrivals_chart=charts.arrivals,
        causes_parts=charts.parts,
        beam=charts.beam,
        swatch=charts.swatch,
        two_distributions=charts.two_distributions,
    )
    return made


def exact(moment: datetime) -> str:
    """Write an instant in full.

    Examples
    --------
    >>> exact(datetime(2013, 6, 2, tzinfo=UTC))
    '2013-06-02 00:00 UTC'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(time: timedelta) -> str:
    """Write how long something is."""
    return spoken(time.total_seconds())


def ago(moment: datetime) -> str:
    """Write an instant by how long ago it was, or is to come."""
    apart = reading.now() - moment
    if abs(apart) < timedelta(seconds=2):
        return "now"
    return f"{span(apart)} ago" if apart > timedelta() else f"in {span(-apart)}"


def worded(text: str) -> Markup:
    """Show what a text has between backticks as code.

    Examples
    --------
    >>> str(worded("run `a < b`"))
    'run <code>a &lt; b</code>'
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just now


def sentence(text: str) -> str:
    """Let a text begin with a capital letter and end with a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?', '`')) else '.'}" if text else ""
