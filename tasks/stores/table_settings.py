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
}
_UNREFERRED = (*JOURNALED, "raw", "quarantine")
"""Tables of which no training set refers to a version: whoever reads one has opened its files long before.

Each collection and harvest is a version, and opening the newest looks at the names of all there are.
"""
_MERGED_AWAY = {
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.logRetentionDuration": "interval 7 days",
}
NOTED = ("raw",)
"""Those whose commits note what is still to be known when their entries of the log go: `upkeep` takes it along."""
_CLEANED = "delta.enableExpiredLogCleanup"
"""Whether Delta removes old entries by itself, with each of its checkpoints."""
_LOOKED_FOR = {
    # the log has the least and greatest value of these alone in each file, not of all that clients send
    "delta.dataSkippingStatsColumns": f"id,event_time,served_at,version,bundle,{HARVEST}",
}


def settings_of(table: str) -> dict[str, str]:
    """Return the properties of a table, by its name."""
    return {
        **_RETENTION,
        **(_FORGOTTEN if table in JOURNALED else {}),
        **(_MERGED_AWAY | {_CLEANED: "false" if table in NOTED else "true"} if table in _UNREFERRED else {}),
        **(_LOOKED_FOR if table == "predictions" else {}),
    }
