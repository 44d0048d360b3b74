"""`driftwheel evidence`."""

from __future__ import annotations

from pathlib import Path

import click

from flows.commands.shared import read_settings

_PURPOSE = "evidence"


@click.command()
@click.argument("usecase")
@click.option("--output", type=click.Path(path_type=Path), help="A new folder: evidence.json, card.md and a signature.")
@click.option("--verify", type=click.Path(path_type=Path), help="A folder that was written: is each byte as it was?")
@click.option("--key", help="The public key to verify by, in hex; this home's where not given.")
def evidence(usecase: str, output: Path | None, verify: Path | None, key: str | None) -> None:
    """Account for a use case: data, versions, metrics, decisions and licences; prints the model cards.

    What Annex IV and Articles 11 and 12 of the EU AI Act ask for, as far as driftwheel knows it. For a replay,
    USECASE-replay.
    """
    from expectations.errors import DriftwheelError
    from flows.evidence import gather, named_like, output_folder, write_card
    from infra.signing import public_text, sign_folder, signing_key, verify_folder
    from tasks.stores.files import storing
    from tasks.stores.plain import to_json

    if verify is not None and output is not None:
        raise click.UsageError("--verify checks a folder and --output writes one: give one of them.")
    if key is not None and verify is None:
        raise click.UsageError("--key is what --verify checks by: name the folder to check.")
    settings = read_settings()
    if verify is not None:
        public = key or public_text(signing_key(settings.places().secret, _PURPOSE))
        wrong = verify_folder(verify, public)
        if wrong:
            raise DriftwheelError(f"{verify} as it was signed", "; ".join(wrong), "Ask for it again where it was made")
        click.echo(f"{verify} is as it was signed by {public}")
        return
    found = gather(settings, named_like(settings, usecase))
    card = write_card(found)
    if output is None:
        click.echo(card, nl=False)
        return
    private = signing_key(settings.places().secret, _PURPOSE)
    with storing("write the evidence to", output), output_folder(output) as folder:
        (folder / "evidence.json").write_text(to_json(found, indent=1), encoding="utf-8")
        (folder / "card.md").write_text(card, encoding="utf-8")
        sign_folder(folder, private)
    click.echo(f"{output}: evidence.json and card.md, signed; verify them by the key {public_text(private)}")
