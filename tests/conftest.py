"""What tests share: English, and one real broker for all that need one, with all topics on it."""

import os
import shutil
from collections.abc import Iterator

import pytest

from hub import lang
from hub import topics as hub_topics
from hub.settings import KafkaSettings
from hub.topics import Topic
from tests.brokers import BorrowedBroker, Broker, register
from tests.planted import leaks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test marked needs_<program> does not run where that program is missing, and says so."""
    for item in items:
        for mark in item.iter_markers():
            program = mark.name.removeprefix("needs_")
            if program != mark.name and shutil.which(program) is None:
                item.add_marker(pytest.mark.skip(reason=f"needs {program}"))


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test and what it starts speak English unless it chooses; what it chose ends with it."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setattr(lang, "_chosen", "en")


@pytest.fixture(scope="session", autouse=True)
def _nothing_leaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set up before all that starts processes, so that it looks when they have ended; what it finds is an error of the last test."""
    yield
    assert not (found := leaks(tmp_path_factory.getbasetemp())), found


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker. Who kills it starts it again; GRIDHUB_TEST_BOOTSTRAP names one to borrow instead."""
    if borrowed := os.environ.get("GRIDHUB_TEST_BOOTSTRAP"):
        yield BorrowedBroker(borrowed)
        return
    own = Broker(tmp_path_factory.mktemp("broker"))
    own.start()
    yield own
    own.stop()


@pytest.fixture(scope="session")
def topics(broker: Broker) -> dict[str, Topic]:
    """All topics of `schemas/topics.toml`, made on the broker, and the shipped registry in force."""
    hub_topics.create(KafkaSettings(bootstrap=broker.bootstrap))
    register(broker.bootstrap)
    return hub_topics.load_topics()
