"""Adapters to what outlives a run: lake, platform database, registry, releases, journal, events, alerts."""
