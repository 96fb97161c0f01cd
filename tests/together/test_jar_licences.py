"""Whatever jar the embedded broker fetches has a licence that lets it be used beside the program, by its own word."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET
from zipfile import ZipFile

import pytest

from hub.embedded_kafka import Jar, cache_folder, fetch, locked_jars
from tests.repository.test_licences import PERMISSIVE

pytestmark = pytest.mark.kafka

# What licences are called in POMs and manifests, by name or by address.
NAMES = (
    (r".*apache.*2\.0(\.txt|\.html)?", "Apache-2.0"),
    (r"(the )?mit( licen[cs]e)?", "MIT"),
    (r"https?://(www\.)?opensource\.org/licenses/mit-license\.php", "MIT"),
    (r"(.*opensource\.org/licenses/)?bsd-2-clause", "BSD-2-Clause"),
    (r"(public domain, per creative commons cc0|.*creativecommons\.org/publicdomain/zero/1\.0/)", "CC0-1.0"),
)
TEXTS = ((r"\s*Apache License\s+Version 2\.0, January 2004", "Apache-2.0"),)
# Jars without a word of it, by the POM beside them in Maven's repository, or by that one's parent.
SAID_BESIDE = {
    "com.dynatrace.hash4j:hash4j:0.22.0": "Apache-2.0",
    "com.google.re2j:re2j:1.8": "BSD-3-Clause",  # "Go License"
    "com.yammer.metrics:metrics-core:2.2.0": "Apache-2.0",
    "org.pcollections:pcollections:4.0.2": "MIT",
    "org.slf4j:slf4j-api:1.7.36": "MIT",
}


def called(name: str) -> str:
    """The SPDX id; what nobody knows as it is."""
    plain = name.strip().strip('"').split(";")[0].strip('" ')
    return next((spdx for pattern, spdx in NAMES if re.fullmatch(pattern, plain, re.IGNORECASE)), plain)


def stated(path: Path) -> set[str]:
    """Every licence that the jar's POMs name, else its manifest, else its licence's text; empty where it says nothing."""
    with ZipFile(path) as jar:
        files = jar.namelist()
        poms = [name for name in files if re.fullmatch(r"META-INF/maven/.*/pom\.xml", name)]
        if named := {called(one) for name in poms for one in in_pom(jar.read(name))}:
            return named
        manifest = re.sub(r"\r?\n ", "", jar.read("META-INF/MANIFEST.MF").decode())
        if found := re.search(r"^Bundle-License: *(.+?)\r?$", manifest, re.MULTILINE):
            return {called(found[1])}
        texts = [jar.read(name).decode() for name in files if re.fullmatch(r"(META-INF/)?LICENSE(\.txt)?", name)]
    return {next((spdx for begin, spdx in TEXTS if re.match(begin, text)), "unknown") for text in texts}


def in_pom(pom: bytes) -> Iterator[str]:
    for licence in ET.fromstring(pom).iterfind("{*}licenses/{*}license/{*}name"):  # noqa: S314 - of jars that the lock knows by hash
        yield " ".join((licence.text or "").split())


def forbidden(jars: list[tuple[Jar, Path]]) -> list[str]:
    """`jar: licences` of each with one that is not in the list, or without any."""
    found = [(jar.coordinate, stated(path) or {SAID_BESIDE.get(jar.coordinate, "none")}) for jar, path in jars]
    return [f"{name}: {', '.join(sorted(some))}" for name, some in found if not some <= PERMISSIVE]


@pytest.fixture(scope="module")
def jars() -> list[tuple[Jar, Path]]:
    """Those of the lock; they are there wherever a broker was started."""
    locked = locked_jars()
    fetch(locked, cache_folder(), stop=threading.Event())
    return [(jar, cache_folder() / jar.file) for jar in locked]


def test_every_jar_has_a_licence_of_the_list(jars: list[tuple[Jar, Path]]) -> None:
    assert len(jars) > 40
    assert forbidden(jars) == []


def test_what_is_said_beside_is_said_of_jars_that_say_nothing(jars: list[tuple[Jar, Path]]) -> None:
    assert {jar.coordinate for jar, path in jars if not stated(path)} == SAID_BESIDE.keys()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"META-INF/maven/a/b/pom.xml": "<licenses><license><name>GNU GPL v3</name></license></licenses>"}, "GNU GPL v3"),
        (
            {
                "META-INF/maven/a/b/pom.xml": "<licenses><license><name>MIT</name></license>"
                "<license><name>SSPL</name></license></licenses>"
            },
            "MIT, SSPL",
        ),
        ({"META-INF/MANIFEST.MF": "Bundle-License: https://www.gnu.org/licenses/agpl-3\n .0.html\n"}, ".gnu.org/licenses/agpl-3.0.html"),
        ({"LICENSE": "Business Source License 1.1"}, "unknown"),
        ({}, "none"),
    ],
)  # fmt: skip
def test_another_licence_is_named_with_its_jar(tmp_path: Path, files: dict[str, str], told: str) -> None:
    with ZipFile(tmp_path / "b.jar", "w") as jar:
        for name, text in {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n", **files}.items():
            jar.writestr(name, f"<project>{text}</project>" if name.endswith(".xml") else text)
    [said] = forbidden([(Jar("a:b:1", ""), tmp_path / "b.jar")])
    assert said.startswith("a:b:1: ")
    assert said.endswith(told)
