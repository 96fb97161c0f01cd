"""Writes the bill of materials of a built wheel beside it, CycloneDX 1.6 as JSON: `python deploy/sbom.py dist/gridhub-*.whl`.

Components are what the locks pin, each with its hashes: Python packages (`lock/run.txt`) and the jars of the embedded broker (`lock/kafka.toml`).
The same wheel and locks give the same bytes. Needs nothing but Python.
"""

import hashlib
import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parent / "lock"
FORMAT = {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6"}
REQUIREMENT = re.compile(r"([\w.-]+)==([^\s;\\]+)(?: *; *([^\\\n]+?))? *\\")


def bill(wheel: Path, lock: Path = LOCK) -> dict[str, Any]:
    """The document for a wheel, whose name is gridhub-VERSION-TAGS.whl."""
    name, version = wheel.name.split("-")[:2]
    root = {
        "type": "application",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [_sha256(hashlib.sha256(wheel.read_bytes()).hexdigest())],
    }
    components = sorted([*packages(lock / "run.txt"), *jars(lock / "kafka.toml")], key=lambda one: str(one["bom-ref"]))
    body = {
        "metadata": {"component": root},
        "components": components,
        # Flat: the locks say what is installed, not for whose sake.
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": [one["bom-ref"] for one in components]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(body, sort_keys=True))
    return {**FORMAT, "serialNumber": f"urn:uuid:{serial}", "version": 1, **body}


def packages(lock: Path) -> list[dict[str, Any]]:
    """Of each package the version and the hashes of all its files, one of which is installed: that depends on the machine."""
    found = []
    for block in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip()):
        pinned = REQUIREMENT.match(block)
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
        if not pinned or not hashes:
            raise ValueError(f"{lock.name}: not a pinned requirement: {block.splitlines()[0]}")
        name, version, marker = pinned.groups()
        purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
        component = {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            "externalReferences": [{"type": "distribution", "url": purl, "hashes": [_sha256(one) for one in hashes]}],
        }
        if marker:
            component["properties"] = [{"name": "gridhub:only-where", "value": marker}]
        found.append(component)
    return found


def jars(lock: Path) -> list[dict[str, Any]]:
    """Of each jar its coordinate and hash."""
    found = []
    for coordinate, sha256 in tomllib.loads(lock.read_text(encoding="utf-8"))["jars"].items():
        group, name, version = coordinate.split(":")
        purl = f"pkg:maven/{group}/{name}@{version}"
        found.append(
            {
                "type": "library",
                "bom-ref": purl,
                "group": group,
                "name": name,
                "version": version,
                "purl": purl,
                "hashes": [_sha256(sha256)],
            }
        )
    return found


def _sha256(content: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": content}


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():  # noqa: PLR2004 - itself and the wheel
        print("usage 用法: python deploy/sbom.py WHEEL", file=sys.stderr)
        return 2
    wheel = Path(sys.argv[1])
    path = wheel.with_name(f"{wheel.name}.cdx.json")
    path.write_text(json.dumps(bill(wheel), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
