"""The registry's routes over real HTTP, as an ordinary Confluent client asks them."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hub.running import run_file
from hub.schema_routes import CONTENT_TYPE, MAX_REQUEST_BYTES, registry_app
from hub.schemas import Schemas
from hub.telemetry import serve_wsgi
from hub.topics import load_topics
from tests.brokers import until

SCHEMAS = Schemas.load()
READING = SCHEMAS.records["reading"][-1]
SUBJECT = "readings-value"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


class Client(NamedTuple):
    port: int

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            sent = None if body is None else body if isinstance(body, str) else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": CONTENT_TYPE} if sent else {})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), json.loads(response.read()))
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        return answer.body


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    server, thread = serve_wsgi(registry_app(SCHEMAS), "127.0.0.1", 0)
    yield Client(server.server_port)
    server.stop()
    thread.join()


@pytest.mark.parametrize("schema", list(SCHEMAS), ids=lambda schema: schema.name)
def test_a_schema_by_its_id(client: Client, schema: Any) -> None:
    answered = client.get(f"/schemas/ids/{schema.id}")
    assert json.loads(answered["schema"]) == schema.definition


def test_types(client: Client) -> None:
    assert client.get("/schemas/types") == ["AVRO"]


def test_subjects_are_named_for_the_topics(client: Client) -> None:
    with_schema = [name for name, topic in load_topics().items() if topic.schema_file]
    assert client.get("/subjects") == sorted(f"{name}-value" for name in with_schema)
    assert "readings-value" in client.get("/subjects")


def test_versions(client: Client) -> None:
    assert client.get(f"/subjects/{SUBJECT}/versions") == [1]


@pytest.mark.parametrize("version", ["1", "latest", "-1"])
def test_a_version(client: Client, version: str) -> None:
    expected = {"subject": SUBJECT, "version": 1, "id": READING.id, "schema": READING.text}
    assert client.get(f"/subjects/{SUBJECT}/versions/{version}") == expected


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/schemas/ids/7", 404, 40403),
        ("GET", "/schemas/ids/x", 404, 40403),
        ("GET", f"/schemas/ids/{'9' * 5000}", 404, 40403),
        ("GET", "/subjects/unheard-value/versions", 404, 40401),
        ("GET", "/subjects/unheard-value/versions/1", 404, 40401),
        ("GET", f"/subjects/{SUBJECT}/versions/2", 404, 40402),
        ("GET", f"/subjects/{SUBJECT}/versions/0", 422, 42202),
        ("GET", f"/subjects/{SUBJECT}/versions/newest", 422, 42202),
        ("GET", "/", 404, 404),
        ("GET", "/subjects/a/b/c/d", 404, 404),
        ("DELETE", f"/subjects/{SUBJECT}", 405, 405),
        ("DELETE", f"/subjects/{SUBJECT}/versions/1", 405, 405),
        ("PUT", "/config", 405, 405),
        ("POST", "/schemas/ids/7", 405, 405),
    ],
)
def test_refusals_are_the_registrys(client: Client, method: str, path: str, status: int, code: int) -> None:
    answer = client.ask(method, path)
    assert (answer.status, answer.body["error_code"]) == (status, code)
    assert answer.body["message"]
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    assert ("Allow" in answer.headers) == (status == 405)


def shuffled() -> str:
    """The same schema as another client may print it: other order of keys, other blanks, no docs."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value) if key != "doc"}
        return [turned(each) for each in value] if isinstance(value, list) else value

    return json.dumps(turned(READING.definition), indent=3)


@pytest.mark.parametrize("text", [READING.text, shuffled()], ids=["as_served", "as_others_print_it"])
def test_a_known_schema_is_found(client: Client, text: str) -> None:
    found = client.ask("POST", f"/subjects/{SUBJECT}", {"schema": text})
    assert found.status == 200
    assert found.body == {"subject": SUBJECT, "version": 1, "id": READING.id, "schema": READING.text}
    registered = client.ask("POST", f"/subjects/{SUBJECT}/versions", {"schema": text})
    assert (registered.status, registered.body) == (200, {"id": READING.id})


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (f"/subjects/{SUBJECT}", {"schema": '"string"'}, 404, 40403),
        ("/subjects/alerts.air-value", {"schema": READING.text}, 404, 40403),
        ("/subjects/unheard-value", {"schema": READING.text}, 404, 40401),
        (f"/subjects/{SUBJECT}/versions", {"schema": '"string"'}, 405, 405),
        ("/subjects/unheard-value/versions", {"schema": READING.text}, 405, 405),
        (f"/subjects/{SUBJECT}", {"schema": "{"}, 422, 42201),
        (f"/subjects/{SUBJECT}/versions", {"schema": "{"}, 422, 42201),
        (f"/subjects/{SUBJECT}", {"schema": "[" * 100_000}, 422, 42201),
        (f"/subjects/{SUBJECT}", {"schema": 3}, 422, 42201),
        (f"/subjects/{SUBJECT}", {"more": "x"}, 422, 42201),
        (f"/subjects/{SUBJECT}", [], 422, 42201),
        (f"/subjects/{SUBJECT}", "{", 422, 42201),
        (f"/subjects/{SUBJECT}", None, 422, 42201),
    ],
)
def test_what_is_posted_otherwise_is_refused(client: Client, path: str, body: object, status: int, code: int) -> None:
    answer = client.ask("POST", path, body)
    assert (answer.status, answer.body["error_code"]) == (status, code)


def test_a_body_above_the_limit_is_not_even_read(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
    connection.putrequest("POST", f"/subjects/{SUBJECT}")
    connection.putheader("Content-Length", str(MAX_REQUEST_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hub", "schemas", "serve"],
        env={**os.environ, "GRIDHUB__DATA": str(tmp_path), "GRIDHUB__SCHEMAS__LISTEN": "127.0.0.1:0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            announced = until(lambda: run_file(tmp_path, "schemas").exists(), 20)
            assert announced
            told = json.loads(run_file(tmp_path, "schemas").read_text(encoding="utf-8"))
            client = Client(told["ports"]["http"])
            assert client.get("/schemas/types") == ["AVRO"]
            assert client.ask("GET", "/ready").body == {"ready": True, "reasons": []}
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert not run_file(tmp_path, "schemas").exists()
