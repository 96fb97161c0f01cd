"""What a user can set or watch is documented, and what the documents show is true."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel

from hub.settings import HostPort, RuleSettings, Settings, load, section

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy/hub.example.toml"
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "hub", "connectors", "schemas", "tests", "deploy"}


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Every key that a model takes, dotted."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not HostPort:
            found |= keys(kind, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def documented() -> set[str]:
    """Every key of the example file, those in comments too."""
    found: set[str] = set()
    table = ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"(?:# )?\[?\[(\w+)\]\]?", line):
            table = f"{header[1]}."
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            found.add(table + key[1])
    return found


def connectors() -> dict[str, type[BaseModel]]:
    """The settings of every folder of connectors/: of `air` the class AirSettings in settings.py."""
    names = sorted(path.parent.name for path in (ROOT / "connectors").glob("*/settings.py"))
    assert len(names) > 1
    return {
        name: getattr(import_module(f"connectors.{name}.settings"), f"{name.capitalize()}Settings") for name in names
    }


def test_every_setting_is_in_the_example() -> None:
    known = keys(Settings) - {"source", "connectors", "rules"}
    rules = {f"rules.{field.alias or name}" for name, field in RuleSettings.model_fields.items()}
    own = {key for name, model in connectors().items() for key in keys(model, f"{name}.")}
    assert documented() == known | own | rules


def test_the_example_says_the_defaults() -> None:
    settings = load(EXAMPLE)
    assert settings.model_copy(update={"source": "defaults", "connectors": {}}) == Settings()
    for name, model in connectors().items():
        assert section(settings, name, model) == model(), name


def test_every_metric_has_a_paragraph() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "hub").rglob("*.py"))
    metrics = {name.removesuffix("_created") for name in re.findall(r'"(gridhub_[a-z_]+)"', code)}
    assert len(metrics) > 5
    runbook = (ROOT / "deploy/README.md").read_text(encoding="utf-8")
    assert not {name for name in metrics if name not in runbook}


def test_top_level_holds_the_agreed_names() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\n") if listed.returncode == 0 else [path.name for path in ROOT.iterdir()]
    top = {name.split("/")[0] for name in names if name and not name.startswith(".")}
    assert top - {".gridhub"} <= TOP_LEVEL


@pytest.mark.parametrize("lock", ["run.txt", "test.txt"])
def test_locks_have_hashes_and_no_addresses(lock: str) -> None:
    text = (ROOT / "deploy/lock" / lock).read_text(encoding="utf-8")
    assert "://" not in text
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert len(requirements) > 20
    assert all("--hash=sha256:" in requirement for requirement in requirements)


def test_the_locks_cover_the_declared_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    locked = (ROOT / "deploy/lock/test.txt").read_text(encoding="utf-8")
    names = [re.split(r"[\[=><]", line)[0] for line in project["project"]["dependencies"]]
    assert not [name for name in names if f"{name}==" not in locked]


def test_a_built_wheel_works_in_another_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("gridhub-*.whl")
    place = tmp_path / "elsewhere"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(place), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)

    def run(*command: str) -> str:
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={"PYTHONPATH": str(place), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    assert run("-c", "import hub; print(hub.__file__)").startswith(str(place))
    assert json.loads(run("-m", "hub", "schemas", "check", "--json")) == {"findings": []}
    devices = "from hub.registry_check import load; from hub.settings import Settings; print(len(load(Settings().registry_dir).by_mn('air')))"
    assert int(run("-c", devices)) == 40
