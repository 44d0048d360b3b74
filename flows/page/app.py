"""The page as an application: addresses, and what is read for each."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from expectations.errors import DriftwheelError
from expectations.usecase import NAME_PATTERN
from flows.page.answers import Answers, Run, model_link, per_minute, run_link, tracking_link
from flows.page.cards import WINDOWS, read_cards
from flows.page.confirming import Asking
from flows.page.measured import Measured
from flows.page.records import KINDS, read_entry, read_findings, read_ledger, split_body
from flows.page.rendering import HEADERS, HERE
from flows.page.shown import Distributions
from flows.page.states import SEVERITY_TONES
from flows.page.versions import version_of
from flows.page.views import MAX_WINDOWS, Live, by_column, read_live, read_view, read_windows
from flows.page.walked import read_walked
from flows.page.words import now
from infra.settings import Settings
from tasks.stores.plain import to_json


class Page(Asking):
    """The pages, each by what is asked for."""

    async def overview(self, request: Request) -> Response:
        """Show all use cases; of `/cards` the part alone that is asked for again."""
        answers = await self.servers.answers()
        cards = await asyncio.to_thread(read_cards, self.use_cases, self.database, now())
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
        cards = await asyncio.to_thread(read_cards, self.use_cases, self.database, now())
        return Response(to_json(cards), media_type="application/json", headers=HEADERS)

    async def live(self, request: Request) -> Response:
        """Show of a use case the part alone that is asked for again."""
        name = request.path_params["name"]
        answers = await self.servers.answers()
        live = await asyncio.to_thread(read_live, self.use_cases, self.database, name, now())
        if live is None:
            raise _no_use_case(name)
        return self.show("live.html", answers, **await self._running(name, answers, live))

    async def _running(self, name: str, answers: Answers, live: Live) -> dict[str, Any]:
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
        most = _number(request.query_params.get("windows"), WINDOWS, MAX_WINDOWS)
        kind = request.query_params.get("kind", "")
        before = _number(request.query_params.get("before"), 0, 2**62) or None
        answers = await self.servers.answers()
        moment = now()
        view = await asyncio.to_thread(read_view, self.use_cases, self.database, name, moment, most)
        if view is None:
            raise _no_use_case(name)
        shown = kind if kind in KINDS else ""
        lines, older = await asyncio.to_thread(read_ledger, self.database, name, shown, before)
        running = await self._running(name, answers, view.live)
        experiment = await self.servers.experiment(name)
        return self.show(
            "use_case.html",
            answers,
            **running,
            view=view,
            walked=await asyncio.to_thread(read_walked, self.settings.folder, name),
            alone=False,
            deployed=answers.deployed_of(name),
            coming=answers.next_of(name),
            counts=answers.counts.get(name),
            pace=per_minute(self.servers.history, name),
            backtest=self._backtest(name) is not None,
            errors={kind: seen for (usecase, kind), seen in self.servers.errors.items() if usecase == name},
            lines=lines,
            found=await asyncio.to_thread(read_findings, self.database, name),
            tones=SEVERITY_TONES,
            older=older,
            kind=kind,
            kinds=KINDS,
            drift_columns=by_column(view.windows),
            model=lambda version: model_link(self.servers.addresses, name, version),
            tracking=lambda run: tracking_link(self.servers.addresses, experiment, run),
        )

    async def entry(self, request: Request) -> Response:
        """Show one entry of the ledger with its evidence."""
        name, answers = request.path_params["name"], await self.servers.answers()
        found = await asyncio.to_thread(read_entry, self.database, name, request.path_params["number"])
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
        shown = await asyncio.to_thread(read_windows, self.use_cases, self.database, name)
        windows = [each for each in shown if any(one.column == column for one in each.drift)]
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
        found = await asyncio.to_thread(self.database.finding, name, key, number)
        if found is None:
            raise HTTPException(404, f"Nothing of that kind was found of {name}.")
        registered = await asyncio.to_thread(self.database.use_cases)
        return self.show(
            "finding.html",
            answers,
            name=name,
            finding=found,
            lines=split_body(found.body),
            tones=SEVERITY_TONES,
            evidence=to_json(found.evidence, indent=1),
            doable=name in registered,
        )


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


def _number(text: str | None, otherwise: int, most: int) -> int:
    return min(int(text), most) if text and text.isdecimal() and len(text) < 20 and int(text) else otherwise
