"""A small picture in a message, where its channel takes one: e-mail shows it inside, a webhook gets none."""

from __future__ import annotations

from typing import Any

_PLAIN = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Schemes of webhooks: whoever reads them asks for words, and would get the picture as text in base 64."""
_WITH_WORDS = frozenset({
    "mailto", "mailtos", "ntfy", "ntfys", "azure", "o365", "brevo", "mailersend", "mailgun", "postmark", "resend",
    "sendgrid", "sendpulse", "ses", "smtp2go", "sparkpost",
})  # fmt: skip
"""Schemes that send words and picture as one request: e-mail, through whatever service, and ntfy."""
NAME = "metric.png"
CAPTION = "The metric of the newest windows"
"""Words of a picture that follows a message: Slack posts words before each file, and takes no empty ones."""


def takes_picture(sender: Any) -> bool:  # noqa: ANN401 - a plugin of Apprise, which has no types
    """Whether a channel shows a picture beside the words."""
    return bool(sender.attachment_support) and not _schemes(sender) & _PLAIN


def goes_with_words(sender: Any) -> bool:  # noqa: ANN401
    """Whether a picture and the words are one request, so that both are taken or neither is."""
    return bool(_schemes(sender) & _WITH_WORDS)


def _schemes(sender: Any) -> set[str]:  # noqa: ANN401
    return {str(each) for each in _listed(sender.protocol) + _listed(sender.secure_protocol)}


def _listed(names: Any) -> list[Any]:  # noqa: ANN401
    return list(names) if isinstance(names, list | tuple) else [names] if names else []


def attach(sender: Any, picture: bytes) -> Any:  # noqa: ANN401
    """Return a picture as Apprise sends it; in an e-mail it stands below the words."""
    from apprise.attachment.memory import AttachMemory

    if hasattr(sender, "inline"):
        sender.inline = True
    return AttachMemory(content=picture, name=NAME, mimetype="image/png")
