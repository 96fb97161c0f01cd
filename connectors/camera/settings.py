"""The section `[camera]` of the configuration."""

from pydantic import BaseModel, Field, PositiveInt

from hub.http_in import HttpSettings
from hub.settings import HostPort, Listen


class TextSettings(BaseModel, frozen=True, extra="forbid"):
    """A word in the name of an AI platform's rule, and the kind of alert that it stands for."""

    word: str = Field(min_length=1)
    kind: str = Field(pattern=r"^camera\.[a-z_]+$")


class CameraSettings(HttpSettings, frozen=True, extra="forbid"):
    """Where cameras push, and what their AI rules are called; see `deploy/hub.example.toml` for each key."""

    listen: Listen = HostPort(host="127.0.0.1", port=8102)
    max_body: PositiveInt = 20 * 1024 * 1024
    texts: tuple[TextSettings, ...] = ()
