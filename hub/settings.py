"""Settings: small frozen models, read once at the start from a TOML file and the environment.

The file is `--config`, else `$GRIDHUB_CONFIG`, else `./hub.toml`, else the shipped default. Any key can be overridden by the
environment: `GRIDHUB__KAFKA__BOOTSTRAP=...`. A secret may also be given as `<key>_file`, the path of a file that holds it. Unknown
keys are refused; a list comes from the environment as JSON. A table named like a folder of `connectors/` is that connector's, who reads it:
`section(settings, "air", AirSettings)`.
"""

import json
import os
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from hub.core.errors import Misconfigured
from hub.lang import Text
from hub.shipped import shipped

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENVIRONMENT_PREFIX = "GRIDHUB__"


class HostPort(BaseModel, frozen=True, extra="forbid"):
    """An address to listen on or to call; port 0 means any free port."""

    host: str
    port: Annotated[int, Field(ge=0, le=65535)]

    @classmethod
    def parse(cls, text: object) -> object:
        """`127.0.0.1:9212` or `[::1]:9212`; what is not text goes on to the model as it is. Mistakes are told without quoting: a setting may come
        out of the file of a secret.
        """
        if not isinstance(text, str):
            return text
        host, separator, port = text.rpartition(":")
        if not separator or not port.isdecimal():
            raise ValueError(Text("not HOST:PORT", "不是 HOST:PORT（主机:端口）"))
        if "@" in host:
            # It would be named wherever the address is: in logs, in what /ready says.
            raise ValueError(Text("an address has no user and no password in it", "地址中不能包含用户名和密码"))
        try:
            host.encode("idna")  # as the system's look-up will
        except UnicodeError:
            raise ValueError(Text("not the name of a host", "不是有效的主机名")) from None
        return {"host": host.strip("[]"), "port": int(port)}

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Listen = Annotated[HostPort, BeforeValidator(HostPort.parse)]


def _brokers(bootstrap: str) -> list[HostPort]:
    brokers = [HostPort.model_validate(HostPort.parse(address.strip())) for address in bootstrap.split(",")]
    if not all(broker.host for broker in brokers):
        raise ValueError(Text("an address lacks its host", "有地址缺少主机"))
    return brokers


class KafkaSettings(BaseModel, frozen=True, extra="forbid"):
    """Where the cluster is, and how its topics are made."""

    bootstrap: Annotated[str, AfterValidator(lambda text: ",".join(map(str, _brokers(text))))] = "127.0.0.1:9092"
    replication: PositiveInt = 1
    partitions: PositiveInt = 12
    # Of less, a third of it is no time for a request.
    delivery_timeout_ms: Annotated[int, Field(ge=1_000)] = 30_000

    @property
    def brokers(self) -> list[HostPort]:
        """The addresses in `bootstrap`: one or more HOST:PORT, separated by commas."""
        return _brokers(self.bootstrap)


class TelemetrySettings(BaseModel, frozen=True, extra="forbid"):
    """`listen` overrides the metrics address of the one process it is given to."""

    listen: Listen | None = None
    format: Literal["json", "text", ""] = ""


class SchemasSettings(BaseModel, frozen=True, extra="forbid"):
    """Where `gridhub schemas serve` answers a registry's read routes."""

    listen: Listen = HostPort(host="127.0.0.1", port=8081)


class RegistrySettings(BaseModel, frozen=True, extra="forbid"):
    """The folder with the registry's files; empty means the shipped demo town."""

    dir: Path | None = None


class EvidenceSettings(BaseModel, frozen=True, extra="forbid"):
    """Where pictures are kept, by their SHA-256; `dir` empty: `evidence` in the data folder."""

    dir: Path | None = None


class SpoolSettings(BaseModel, frozen=True, extra="forbid"):
    """Where connectors keep what Kafka does not take, one file each; `dir` empty: `spool` in the data folder. `max_bytes`: of each, about."""

    dir: Path | None = None
    max_bytes: PositiveInt = 1024**3


class PageSettings(BaseModel, frozen=True, extra="forbid"):
    """Where the page is served. `tiles`: a tile server's address with {z}, {x}, {y}, empty for none; `tiles_datum`: the datum its tiles are in."""

    listen: Listen = HostPort(host="127.0.0.1", port=8080)
    tiles: str = ""
    tiles_datum: Literal["WGS84", "GCJ02"] = "WGS84"


class RouterSettings(BaseModel, frozen=True, extra="forbid"):
    """How routers share the work, and how much of it goes into one transaction."""

    session_timeout_ms: PositiveInt = 10_000
    transaction_timeout_ms: PositiveInt = 15_000
    tick_s: PositiveFloat = 1
    max_records: PositiveInt = 500


class RuleSettings(BaseModel, frozen=True, extra="forbid"):
    """Which alert becomes which class of ticket; see `deploy/hub.example.toml` for each key. Times in seconds."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]*$")]
    class_code: Annotated[str, Field(alias="class", pattern=r"^[0-9]{5}$")]
    class_standard: str = "GB/T 47678.5-2026"
    factor: str = ""
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    period: PositiveInt = 3600
    wait: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    covered: Annotated[float, Field(gt=0, le=1)] = 0.75
    realtime: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    clear_after: PositiveInt = 2
    urgency: Literal["normal", "urgent"] = "normal"
    quiet: NonNegativeInt = 0

    @model_validator(mode="after")
    def _watches_or_takes(self) -> "RuleSettings":
        if bool(self.factor) != (self.limit is not None):
            raise ValueError(
                Text(f"{self.kind}: factor and limit belong together", f"{self.kind}：factor 与 limit 必须同时给出")
            )
        return self


def _rules(rules: object) -> object:
    """From the environment they come as JSON."""
    return json.loads(rules) if isinstance(rules, str) else rules


def _kinds_differ(rules: tuple[RuleSettings, ...]) -> tuple[RuleSettings, ...]:
    kinds = [rule.kind for rule in rules]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ValueError(Text(f"two rules are called {kind}", f"有两条规则名为 {kind}"))
    return rules


RuleTables = Annotated[tuple[RuleSettings, ...], BeforeValidator(_rules), AfterValidator(_kinds_differ)]
DEFAULT_RULES = tuple(
    RuleSettings.model_validate(table)
    for table in (
        {"kind": "air.pm10.over_limit", "class": "08004", "factor": "a34002", "limit": 150},
        {"kind": "air.pm25.over_limit", "class": "08004", "factor": "a34004", "limit": 75},
        {"kind": "air.device_alarm", "class": "08004"},
    )
)


class Settings(BaseModel, frozen=True, extra="forbid"):
    """All that every process shares. `connectors`: their sections by name, raw until their owner reads them."""

    data: Path = Path(".gridhub/data")
    kafka: KafkaSettings = KafkaSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    schemas: SchemasSettings = SchemasSettings()
    registry: RegistrySettings = RegistrySettings()
    evidence: EvidenceSettings = EvidenceSettings()
    spool: SpoolSettings = SpoolSettings()
    page: PageSettings = PageSettings()
    router: RouterSettings = RouterSettings()
    rules: RuleTables | None = None
    connectors: dict[str, dict[str, Any]] = {}
    source: str = "defaults"

    @property
    def spool_dir(self) -> Path:
        """Where connectors keep what Kafka does not take."""
        return self.spool.dir or self.data / "spool"

    @property
    def evidence_dir(self) -> Path:
        """Where pictures are kept."""
        return self.evidence.dir or self.data / "evidence"

    @property
    def registry_dir(self) -> Path:
        """The folder with the registry's files."""
        return self.registry.dir or shipped("deploy/town")


Model = TypeVar("Model", bound=BaseModel)


def load(config: Path | None = None) -> Settings:
    """Reads file and environment; raises Misconfigured with the key and what is wrong with it."""
    path = _find(config)
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except FileNotFoundError:
        said = Text(f"the configuration file {path} does not exist", f"配置文件 {path} 不存在")
        raise Misconfigured(str(said)) from None
    except OSError as error:
        said = Text(
            f"the configuration file {path} cannot be read: {error.strerror}",
            f"无法读取配置文件 {path}：{error.strerror}",
        )
        raise Misconfigured(str(said)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        said = Text(f"the configuration file {path} is not TOML: {error}", f"配置文件 {path} 不是 TOML：{error}")
        raise Misconfigured(str(said)) from None
    for name, text in os.environ.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            _set(raw, name, text)
    _read_secrets(raw)
    sections = {name: raw.pop(name) for name in list(raw) if name not in _OURS}
    settings = _validate(Settings, raw | {"source": str(path)}, str(path), ())
    for name, table in sections.items():
        if not is_connector(name):
            faults = Text(
                f"{name}: neither a setting nor the name of a connector", f"{name}：既不是配置项，也不是接入程序的名称"
            )
        elif not isinstance(table, dict):
            faults = Text(f"{name}: must be a section", f"{name}：必须是一个配置段")
        else:
            continue
        raise Misconfigured(_said(str(path), faults))
    return settings.model_copy(update={"connectors": sections})


def section(settings: Settings, name: str, model: type[Model]) -> Model:
    """One connector's section, checked by the connector's own model; raises Misconfigured."""
    return _validate(model, settings.connectors.get(name, {}), settings.source, (name,))


_OURS = frozenset(Settings.model_fields) - {"connectors"}


def is_connector(name: str) -> bool:
    """Whether connectors/ has a folder of this name. It is not imported: its settings are its own to read."""
    if not name.isidentifier():
        return False
    found = find_spec(f"connectors.{name}")
    return found is not None and found.submodule_search_locations is not None


def _find(config: Path | None) -> Path:
    if config is not None:
        return config
    if named := os.environ.get("GRIDHUB_CONFIG"):
        return Path(named)
    local = Path("hub.toml")
    return local if local.exists() else shipped("deploy/hub.example.toml")


def _set(raw: dict[str, Any], name: str, text: str) -> None:
    keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    place = raw
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise Misconfigured(str(Text(f"{name}: {key} is not a section", f"{name}：{key} 不是一个配置段")))
    place[keys[-1]] = text


def _read_secrets(table: dict[str, Any]) -> None:
    for key, value in list(table.items()):
        if isinstance(value, dict):
            _read_secrets(value)
        elif key.endswith("_file") and isinstance(value, str):
            try:
                table[key.removesuffix("_file")] = Path(value).read_text(encoding="utf-8").strip()
            except OSError as error:
                said = Text(
                    f"{key}: {value} cannot be read: {error.strerror}", f"{key}：无法读取 {value}：{error.strerror}"
                )
                raise Misconfigured(str(said)) from None
            except UnicodeDecodeError:
                raise Misconfigured(
                    str(Text(f"{key}: {value} is not UTF-8", f"{key}：{value} 不是 UTF-8 编码"))
                ) from None
            del table[key]


# What pydantic says of a value, by its types of error. What stands in braces is its own.
_PYDANTIC = {
    "extra_forbidden": "没有这个配置项",
    "missing": "缺少该项",
    "greater_than": "必须大于 {gt}",
    "greater_than_equal": "不能小于 {ge}",
    "less_than_equal": "不能大于 {le}",
    "int_parsing": "必须是整数",
    "int_from_float": "必须是整数",
    "int_type": "必须是整数",
    "float_parsing": "必须是数字",
    "float_type": "必须是数字",
    "string_type": "必须是带引号的文本",
    "string_pattern_mismatch": "不符合格式 {pattern}",
    "finite_number": "必须是有限的数",
    "bool_type": "必须是 true 或 false",
    "bool_parsing": "必须是 true 或 false",
    "path_type": "必须是路径",
    "literal_error": "只能是 {expected}",
    "dict_type": "必须是一个配置段",
    "model_type": "必须是一个配置段",
}


def told(fault: "ErrorDetails") -> str:
    """What is wrong with a value, in the chosen language."""
    said = fault["msg"].removeprefix("Value error, ")
    zh = _PYDANTIC.get(fault["type"], "{said}").format(said=said, **fault.get("ctx", {}))
    return str(Text(said, zh.replace(" or ", " 或 ")))


def _validate(model: type[Model], raw: dict[str, Any], source: str, where: tuple[str, ...]) -> Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        # The input is left out of the message: it may be a secret.
        faults = "; ".join(
            f"{'.'.join(map(str, (*where, *fault['loc'])))}: {told(fault)}"
            for fault in error.errors(include_input=False)
        )
        raise Misconfigured(_said(source, Text(faults, faults))) from None


def _said(source: str, faults: Text) -> str:
    return str(Text(f"{source} (or the environment): {faults.en}", f"{source}（或环境变量）：{faults.zh}"))
