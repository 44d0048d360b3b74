"""Send what people are to hear."""

from __future__ import annotations

from expectations.loading import LoadedUseCase
from expectations.usecase import REPLAY
from infra.settings import Settings
from tasks.stores.alerts import Sent, deliver
from tasks.stores.messages import Calendar


def send_messages(settings: Settings, usecase: LoadedUseCase) -> list[Sent]:
    """Send the targets of a use case what is due; of a replay nothing, the past is nobody's alarm."""
    spec = usecase.spec
    if usecase.name.endswith(REPLAY):
        return []
    calendar, channels = Calendar(spec.local_zone, spec.monitoring.week), settings.channels(spec.alerts)
    return deliver(settings.platform(), usecase.name, channels, calendar, settings.page_address)
