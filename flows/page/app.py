"""The page as an application: addresses, and what is read for each."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from expectations.contradictions import REPLAY
from expectations.errors import DriftwheelError
from expectations.usecase import NAME_PATTERN
from flows.page.answered import version_that_came
from flows.page.answers import Answers, Run, report_link
from flows.page.cards import WINDOWS, Card, read_cards
from flows.page.confirming import Asking
from flows.page.distributions import distributions
from flows.page.exposition import CONTENT_TYPE, read_exposition
from flows.page.records import read_entry, split_body
from flows.page.rendering import HEADERS, HERE
from flows.page.states import SEVERITY_TONES
from flows.page.use_case_values import Asked, live_values, page_values, read_kept, timed_runs
from flows.page.versions import version_of
from flows.page.views import MAX_WINDOWS, read_live, read_windows
from flows.page.words import now
from infra.settings import Settings
from tasks.stores.plain import to_json

_log = logging.getLogger("driftwheel.page")


class Page(Asking):
    """The pages, each by what is asked for."""

    async def overview(self, request: Request) -> Response:
        """Show all use cases; of `/cards` the part alone that is asked for again."""
        answers = await self.servers.answers()
        cards = await asyncio.to_thread(read_cards, self.use_cases, self.database, now())
        return self._overview("cards.html" if request.url.path == "/cards" else "overview.html", answers, cards)

    def _overview(self, template: str, answers: Answers, cards: Sequence[Card]) -> Response:
        tally = Counter((card.state.word, card.state.tone) for card in cards)
        latest: dict[str, Run] = {}
        for run in reversed(answers.runs):
            if run.start is not None:
                latest[run.usecase] = run
        return self.show(
            template,
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

    async def metrics(self, _: Request) -> Response:
        """Say what is wrong as metrics."""
        text = await asyncio.to_thread(read_exposition, self.database, now())
        return Response(text, media_type=CONTENT_TYPE, headers=HEADERS)

    async def live(self, request: Request) -> Response:
        """Show of a use case the part alone that is asked for again."""
        name = request.path_params["name"]
        answers = await self.servers.answers()
        live = await asyncio.to_thread(read_live, self.use_cases, self.database, name, now())
        if live is None:
            raise _no_use_case(name)
        return self.show("live.html", answers, **live_values(name, live, await self._asked(name, answers)))

    async def _asked(self, name: str, answers: Answers) -> Asked:
        """Return what changes while something runs, of what servers said of a use case."""
        return Asked(
            answers,
            self.servers.addresses,
            await self.servers.stage_seconds(name, timed_runs(answers, name)),
            self.doing.errands(name),
        )

    async def use_case(self, request: Request) -> Response:
        """Show a use case."""
        name, asked_for = request.path_params["name"], request.query_params
        most = _number(asked_for.get("windows"), WINDOWS, MAX_WINDOWS)
        before = _number(asked_for.get("before"), 0, 2**62) or None
        answers = await self.servers.answers()
        kept = await asyncio.to_thread(
            read_kept,
            self.settings,
            self.use_cases,
            self.database,
            name,
            now(),
            most,
            asked_for.get("kind", ""),
            before,
        )
        if kept is None:
            raise _no_use_case(name)
        asked = replace(
            await self._asked(name, answers),
            reader=self._reader(request),
            experiment=await self.servers.experiment(name),
            backtest=self._backtest(name) is not None,
        )
        return self.show("use_case.html", answers, alone=False, **page_values(name, kept, asked))

    def _reader(self, request: Request) -> str:
        """Return who may only look; empty where they may do all."""
        who = self.person(request)
        return "" if who.may_do else who.name

    async def entry(self, request: Request) -> Response:
        """Show one entry of the ledger with its evidence."""
        name, answers = request.path_params["name"], await self.servers.answers()
        number = request.path_params["number"]
        found = await asyncio.to_thread(read_entry, self.database, name, number)
        if found is None:
            raise HTTPException(404, "The ledger has no such entry.")
        line, evidence = found
        came = await asyncio.to_thread(version_that_came, self.database, name, line)
        report = report_link(self.servers.addresses, str(evidence.get("report") or ""))
        text = to_json(evidence, indent=1)
        return self.show(
            "entry.html",
            answers,
            name=name,
            line=line,
            evidence=text,
            report=report,
            came=came,
            replay=name.endswith(REPLAY),
        )

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
        window = next((each for each in windows if each.start.isoformat() == asked), windows[-1])
        return self.show(
            "drift.html",
            answers,
            name=name,
            column=column,
            window=window,
            drifted=next((each for each in window.drift if each.column == column), None),
            shown=await asyncio.to_thread(distributions, self.settings, name, window, column),
            others=windows[-12:],
        )

    def warm(self) -> None:
        """Read and render once what is asked for first: what that imports, compiles and plans is there from then on."""
        cards = read_cards(self.use_cases, self.database, now())
        self._overview("overview.html", Answers(), cards)
        for card in cards[:1]:
            kept = read_kept(self.settings, self.use_cases, self.database, card.name, now())
            if kept is not None:
                self.show("use_case.html", Answers(), alone=False, **page_values(card.name, kept, Asked()))

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
            doable=name in registered and self.person(request).may_do,
        )


def application(settings: Settings, *, behind_login: bool = False) -> Starlette:
    """Return the page of a home; what it answers first is made ready before it is served."""
    page = Page(settings, behind_login=behind_login)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        (failed,) = await asyncio.gather(asyncio.to_thread(page.warm), return_exceptions=True)
        if failed is not None:  # the page itself says so to whoever asks for it
            _log.warning("the page was not made ready: %s", failed)
        gc.collect()
        gc.freeze()  # what is loaded stays: to walk it took a third of the time of a page of many windows, now and then
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
            Route("/metrics", page.metrics),
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


def _number(text: str | None, otherwise: int, most: int) -> int:
    return min(int(text), most) if text and text.isdecimal() and len(text) < 20 and int(text) else otherwise
