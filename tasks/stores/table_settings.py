"""How long Delta keeps what of a table of the lake, and what its log says of each file."""

from __future__ import annotations

HARVEST = "_harvest"
"""Column of predictions: the number of the harvest that brought them, growing; missing of those from before it was."""
#: Old versions stay readable for ten years: a training set is a reference to one.
_RETENTION = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
}
JOURNALED = ("predictions", "labels", "shadows")
"""Tables brought in from journals: each segment is an application of its own."""
_FORGOTTEN = {
    # a segment is removed once it is committed; that it was is known so long, in case it was not removed after all
    "delta.setTransactionRetentionDuration": "interval 90 days",
    # each harvest is a version, and opening the newest looks at the names of all there are
    "delta.logRetentionDuration": "interval 7 days",
}
_UNREFERRED = (*JOURNALED, "raw", "quarantine")
"""Tables of which no training set refers to a version: whoever reads one has opened its files long before."""
_MERGED_AWAY = {"delta.deletedFileRetentionDuration": "interval 7 days"}
_LOOKED_FOR = {
    # the log has the least and greatest value of these alone in each file, not of all that clients send
    "delta.dataSkippingStatsColumns": f"id,event_time,served_at,version,bundle,{HARVEST}",
}


def settings_of(table: str) -> dict[str, str]:
    """Return the properties of a table, by its name."""
    more = {**(_FORGOTTEN if table in JOURNALED else {}), **(_MERGED_AWAY if table in _UNREFERRED else {})}
    return {**_RETENTION, **more, **(_LOOKED_FOR if table == "predictions" else {})}
