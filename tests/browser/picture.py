"""Take the picture of README: the page of a replay, as a browser shows it."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from infra.settings import Settings
from infra.stack import Stack
from tests.browser.conftest import browser
from tests.browser.devtools import tab

WIDTH, HEIGHT = 1000, 1000


def main() -> None:
    """Start the page of the home, where no other program is up, and keep how it looks from its top."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--usecase", default="flights-replay")
    options = parser.parse_args()
    stack = Stack(Settings())
    address = stack.start(("page",)).page
    try:
        with TemporaryDirectory() as profile, tab(browser(Path(profile))) as page:
            page.open(f"{address}/usecases/{options.usecase}", width=WIDTH, height=HEIGHT)
            shown = Image.open(io.BytesIO(page.image(HEIGHT)))
    finally:
        stack.stop()
    shown.convert("RGB").quantize(256).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
