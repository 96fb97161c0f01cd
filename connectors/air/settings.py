"""The section `[air]` of the configuration."""

from pydantic import BaseModel, PositiveFloat, PositiveInt

from hub.settings import HostPort, Listen


class AirSettings(BaseModel, frozen=True, extra="forbid"):
    """Where stations connect, and what one of them may use up; see `deploy/hub.example.toml` for each key."""

    listen: Listen = HostPort(host="127.0.0.1", port=9212)
    idle_timeout_s: PositiveFloat = 600
    pending_timeout_s: PositiveFloat = 60
    max_connections: PositiveInt = 2000
    budget_s: PositiveFloat = 2
    max_pending_messages: PositiveInt = 64
    max_pending_bytes: PositiveInt = 65536
    minute_period_s: PositiveInt = 600
