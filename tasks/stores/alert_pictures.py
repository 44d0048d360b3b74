"""A small picture in a message, where its channel takes one: e-mail shows it inside, a webhook gets none."""

from __future__ import annotations

from typing import Any

_PLAIN = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Schemes of webhooks: whoever reads them asks for words, and would get the picture as text in base 64."""
NAME = "metric.png"


def takes_picture(sender: Any) -> bool:  # noqa: ANN401 - a plugin of Apprise, which has no types
    """Whether a channel shows a picture beside the words."""
    schemes = {str(each) for each in _listed(sender.protocol) + _listed(sender.secure_protocol)}
    return bool(sender.attachment_support) and not schemes & _PLAIN


def _listed(names: Any) -> list[Any]:  # noqa: ANN401
    return list(names) if isinstance(names, list | tuple) else [names] if names else []


def attach(sender: Any, picture: bytes) -> Any:  # noqa: ANN401
    """Return a picture as Apprise sends it; in an e-mail it stands below the words."""
    from apprise.attachment.memory import AttachMemory

    if hasattr(sender, "inline"):
        sender.inline = True
    return AttachMemory(content=picture, name=NAME, mimetype="image/png")
