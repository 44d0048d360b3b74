"""Take the pictures of docs/tour.md anew, from the replay that `make demo` left."""

from __future__ import annotations

import argparse
import base64
import io
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import httpx
from PIL import Image

from infra.settings import Addresses, Settings
from infra.stack import Stack
from tasks.stores.model_words import MODEL_PAGES
from tasks.stores.registry import Registry
from tests.browser.conftest import browser
from tests.browser.devtools import Tab, tab

USECASE, VERSION = "flights-replay", "2"
WIDTH, MOST, HEIGHT, COLOURS = 1000, 1180, 620, 96
MAX_BYTES = 150_000
_SETTLED, _PATIENCE = 4.0, 180.0
"""Seconds that a page may still draw after what is waited for is there, and that one is loaded again and again."""


@dataclass(frozen=True)
class Picture:
    """A picture of the tour.

    Attributes
    ----------
    there : str
        Words of the page that say that it has loaded.
    part : str
        Selector of the part that is shown; the top of the page where empty.
    height : int
        At most so many pixels.
    wide : int
        Width of the browser's window, of which the left is shown.
    ready : str
        What else is true in JavaScript once it has loaded.
    """

    name: str
    address: str
    there: str
    part: str = ""
    height: int = HEIGHT
    wide: int = WIDTH
    ready: str = "true"


def pictures(settings: Settings, addresses: Addresses) -> list[Picture]:
    """Return the eight pictures, in the order of the tour."""
    home, database = f"{addresses.page}/usecases/{USECASE}", settings.platform()
    retrain = [each for each in database.entries(USECASE, kind="decision") if each.action == "retrain"][-1]
    column = next(each["column"] for each in retrain.evidence["window"]["drift"] if each["drifted"])
    window = quote(retrain.evidence["window"]["start"])
    registry = Registry(addresses.mlflow, USECASE)
    run = next(each.run for each in registry.versions() if each.version == VERSION)
    asked = {
        "flows": {"name": {"any_": ["monitor"]}},
        "flow_runs": {"name": {"like_": f"{USECASE} as of {retrain.as_of:%Y-%m-%d}"}},
    }
    runs = httpx.post(f"{addresses.prefect}/api/flow_runs/filter", json=asked, trust_env=False).json()
    watched = runs[0]["id"]
    listed = httpx.get(f"{addresses.evidently}/api/projects", trust_env=False).json()
    project = next(each["id"] for each in listed if each["name"] == USECASE)
    experiment = f"{addresses.mlflow}/#/experiments/{registry.experiment()}/runs/{run}"
    logs = f"{addresses.prefect}/runs/flow-run/{watched}"
    figures = f"{experiment}/model-metrics?{MODEL_PAGES}"
    plotted = "document.querySelectorAll('.main-svg').length > 5"
    answers = "!document.querySelector('.away')"  # the first page may come before they did
    of_versions, of_ledger = (f"section[aria-labelledby={each}]" for each in ("versions", "ledger"))
    return [
        Picture("1-overview", addresses.page, "flights-replay", height=360, ready=answers),
        Picture("2-use-case", home, "Versions that answered", height=900, ready=answers),
        Picture("3-versions", home, "Versions that answered", of_versions, 430),
        Picture("4-drift", f"{home}/drift?column={column}&window={window}", "training rows", height=560, ready=answers),
        Picture("5-ledger", f"{home}?kind=decision", "Ledger", of_ledger, 690),
        Picture("6-evidently", f"{addresses.evidently}/projects/{project}", "roc_auc by window", height=840),
        Picture("7-mlflow", figures, "monitoring", height=820, wide=1500, ready=plotted),
        Picture("8-prefect", logs, "decay", height=820, wide=MOST),
    ]


def take(page: Tab, picture: Picture) -> bytes:
    """Return a picture as PNG, of few colours."""
    page.call("Emulation.setDeviceMetricsOverride", width=picture.wide, height=900, deviceScaleFactor=1, mobile=False)
    there = f"!!document.body && document.body.innerText.includes({picture.there!r})"
    end = time.monotonic() + _PATIENCE
    while True:
        page.call("Page.navigate", url=picture.address)
        page.await_true(there)
        time.sleep(_SETTLED)
        if page.run(picture.ready):
            break
        if time.monotonic() > end:
            raise SystemExit(f"{picture.name}: not ready within {_PATIENCE:g} s ({picture.ready})")
    corner = page.run(
        f"(() => {{ const at = document.querySelector({picture.part!r}).getBoundingClientRect();"
        "return [at.left + scrollX, at.top + scrollY, at.width, at.height] })()"
        if picture.part
        else f"[0, 0, {min(picture.wide, MOST)}, {picture.height}]"
    )
    left, top, width, height = corner
    clip = {"x": left, "y": top, "width": width, "height": min(height, picture.height), "scale": 1}
    shot = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB").quantize(COLOURS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Start the stack of the home, where it is not up, and keep eight pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures; all where none is given")
    options = parser.parse_args()
    settings = Settings()
    stack, addresses = Stack(settings), settings.addresses()
    began = addresses is None
    addresses = addresses or stack.start()
    options.folder.mkdir(exist_ok=True)
    try:
        for each in pictures(settings, addresses):
            if options.only and each.name not in options.only:
                continue
            with TemporaryDirectory(ignore_cleanup_errors=True) as profile, tab(browser(Path(profile))) as page:
                made = take(page, each)
            if len(made) > MAX_BYTES:
                raise SystemExit(f"{each.name}: {len(made):,} bytes, at most {MAX_BYTES:,}: show less of it")
            (options.folder / f"{each.name}.png").write_bytes(made)
            print(f"{each.name}: {len(made):,} bytes")
    finally:
        if began:
            stack.stop()


if __name__ == "__main__":
    main()
