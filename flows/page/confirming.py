"""Doing from the page: each thing is asked once more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qs, quote

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from expectations.errors import DriftwheelError
from flows.page.answers import Deployed
from flows.page.doing import ACTIONS, FLOWS, Action, said
from flows.page.people import Visitor
from flows.page.rendering import HEADERS, Shared

MAX_FORM = 16_384


class Asking(Shared):
    """Asks once whether something is to be done, and does it."""

    async def ask(self, request: Request) -> Response:
        """Ask once whether something is to be done; where that is confirmed, do it."""
        name, action = request.path_params["name"], ACTIONS.get(request.path_params["action"])
        registered = await asyncio.to_thread(self.database.use_cases)
        if action is None or name not in registered:
            raise HTTPException(404, "There is nothing of that name to do for a use case that is registered.")
        who = self.person(request)
        if not who.may_do:
            raise HTTPException(403, _reader(who, action))
        answers = await self.servers.answers()
        deployed, wrong = answers.deployed_of(name), ""
        if request.method == "POST":
            given = await _form(request)
            subject, wrong = given.get("subject", ""), ""
            if not self.doing.takes(request.url.path, given.get("token", "")):
                wrong = "This form is from before the page was started again, or of another page. Ask once more."
            else:
                wrong = self._refusal(action, subject, deployed)
            if not wrong:
                try:
                    await self.doing.do(action, name, subject, who.name, deployed)
                except (DriftwheelError, httpx.HTTPError) as error:
                    wrong = said(error)
                else:
                    return RedirectResponse(f"/usecases/{name}", 303, HEADERS)
        else:
            subject = request.query_params.get("subject", "")
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
            subject=subject,
            back=f"/usecases/{name}" + (f"/findings/{quote(subject)}" if action.takes == "finding" else ""),
            wrong=wrong,
            versions=versions,
            who=who.name,
            path=request.url.path,
            token=self.doing.token(request.url.path),
        )

    def _refusal(self, action: Action, subject: str, deployed: Mapping[str, Deployed]) -> str:
        """Say why something cannot be asked for; empty where it can."""
        if action.takes == "version" and not (subject.isascii() and subject.isdecimal()):
            return "Choose a version."
        flow = action.name if action.name in FLOWS else subject if action.takes == "flow" else ""
        if flow and flow not in deployed:
            return f"Prefect knows no {flow} of it: is it up, and the runner? `driftwheel status` shows that."
        if action.takes == "flow" and not deployed[flow].schedule:
            return f"{flow} has no schedule."
        return ""


def _reader(who: Visitor, action: Action) -> str:
    """Say that somebody may look alone."""
    return (
        f"{who.name} may look at everything here; to do anything ({action.name}) takes an operator. "
        f"Ask one, or add {who.name} to `DRIFTWHEEL_PAGE_OPERATORS` of the stack."
    )


async def _form(request: Request) -> dict[str, str]:
    """Read a form; the last of each name."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM:
            raise HTTPException(413, "That is no form of this page: it is too large.")
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
