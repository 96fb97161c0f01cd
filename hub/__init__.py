"""gridhub: an event-driven integration hub for grid governance (网格化管理)."""

__version__ = "0.1.0"
