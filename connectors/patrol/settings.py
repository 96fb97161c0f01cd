"""The section `[patrol]` of the configuration."""

from hub.http_in import HttpSettings
from hub.settings import HostPort, Listen


class PatrolSettings(HttpSettings, frozen=True, extra="forbid"):
    """Where patrol platforms push; see `deploy/hub.example.toml` for each key."""

    listen: Listen = HostPort(host="127.0.0.1", port=8101)
