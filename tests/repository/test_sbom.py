"""`deploy/sbom.py`: a bill of materials that CycloneDX's own schema takes, with every pinned thing and its hash."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.sbom import bill, packages

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "deploy/lock"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "gridhub-1.2.3-py3-none-any.whl"
    path.write_bytes(b"a wheel")
    return path


def test_the_command_writes_it_beside_the_wheel(wheel: Path) -> None:
    written = []
    for _ in range(2):
        # Hash seeds differ from run to run.
        ran = subprocess.run(
            [sys.executable, str(ROOT / "deploy/sbom.py"), str(wheel)], capture_output=True, text=True, check=True
        )
        written.append(Path(ran.stdout.strip()).read_text(encoding="utf-8"))
    assert written[0] == written[1]
    assert ran.stdout.strip() == f"{wheel}.cdx.json"
    assert not (wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(written[0])), repr(wrong)[:2000]


def test_the_schema_refuses_what_is_wrong(wheel: Path) -> None:
    document = bill(wheel)
    document["components"][0]["version"] = 3
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


def test_everything_pinned_is_in_it_with_its_hashes(wheel: Path) -> None:
    document = bill(wheel)
    components = document["components"]
    jars = {
        f"{one['group']}:{one['name']}:{one['version']}": one["hashes"][0]["content"]
        for one in components
        if "group" in one
    }
    assert jars == tomllib.loads((LOCK / "kafka.toml").read_text(encoding="utf-8"))["jars"]
    lock = (LOCK / "run.txt").read_text(encoding="utf-8")
    python = [one for one in components if "group" not in one]
    assert {f"{one['name']}=={one['version']}" for one in python} == set(
        re.findall(r"^[\w.-]+==[^ ]+", lock, re.MULTILINE)
    )
    hashes = [each["content"] for one in python for each in one["externalReferences"][0]["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:(\w+)", lock))
    refs = [one["bom-ref"] for one in components]
    assert len(set(refs)) == len(refs)
    assert document["dependencies"][0]["dependsOn"] == refs


def test_another_wheel_is_another_document(wheel: Path) -> None:
    before = bill(wheel)
    wheel.write_bytes(b"another wheel")
    after = bill(wheel)
    assert before["serialNumber"] != after["serialNumber"]
    assert before["components"] == after["components"]


def test_what_is_not_pinned_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("aiohttp>=3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"run\.txt: not a pinned requirement: aiohttp>=3"):
        packages(tmp_path / "run.txt")
