"""The read routes of the Confluent Schema Registry, answered from the files in `schemas/`: ordinary clients decode without a server."""

import json
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hub.lang import say
from hub.running import announced, on_stop
from hub.schemas import Avro, Schema, Schemas, local_id
from hub.settings import HostPort, Settings
from hub.telemetry import serve_wsgi, with_telemetry

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
MAX_REQUEST_BYTES = 1 << 20


def serve(settings: Settings, listen: HostPort) -> int:
    """Answers the registry's read-only routes, and /metrics, /live and /ready, until SIGTERM or SIGINT; 0 then.

    Raises Misconfigured for a taken port.
    """
    stop = threading.Event()
    on_stop(stop.set)
    registry = registry_app(Schemas.load())
    server, thread = serve_wsgi(with_telemetry(registry), listen.host, listen.port)
    port = server.server_port
    with announced(settings.data, "schemas", {"http": port}):
        say(f"schemas are served at http://{listen.host}:{port}", f"模式服务地址：http://{listen.host}:{port}")
        stop.wait()
    server.stop()
    thread.join()
    return 0


class _Refused(Exception):
    def __init__(self, status: str, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.answer = {"error_code": code, "message": message}


def _not_found(code: int, message: str) -> _Refused:
    return _Refused("404 Not Found", code, message)


def registry_app(schemas: Schemas) -> "WSGIApplication":
    """The Confluent Schema Registry's read-only routes, with its codes and words (its API reference, "Errors").

    Registration of a schema that is known answers its id, so that serializers which register at their start work; any other write
    is 405.
    """
    registry = _Registry(schemas)

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        status, headers = "200 OK", [("Content-Type", CONTENT_TYPE)]
        try:
            answer = registry.answer(environ)
        except _Refused as refused:
            status, answer = refused.status, refused.answer
            if status.startswith("405"):
                headers.append(("Allow", "GET, POST"))
        body = json.dumps(answer, ensure_ascii=False).encode()
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    return app


class _Registry:
    def __init__(self, schemas: Schemas) -> None:
        self._subjects = schemas.subjects
        self._by_id = {schema.id: schema for schema in schemas}

    def answer(self, environ: "WSGIEnvironment") -> object:
        """What the route answers; raises _Refused."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "").strip("/").split("/")
        match method, path:
            case "GET", _:
                return self._get(path)
            case "POST", ["subjects", subject]:
                return _described(subject, self._known(subject, _posted(environ)))
            case "POST", ["subjects", subject, "versions"]:
                return self._register(subject, _posted(environ))
        raise _not_allowed("HTTP 405 Method Not Allowed")

    def _get(self, path: list[str]) -> object:
        match path:
            case ["schemas", "types"]:
                return ["AVRO"]
            case ["schemas", "ids", number]:
                return {"schema": self._schema(number).text}
            case ["subjects"]:
                return sorted(self._subjects)
            case ["subjects", subject, "versions"]:
                return [schema.version for schema in self._versions(subject)]
            case ["subjects", subject, "versions", version]:
                return _described(subject, self._version(subject, version))
        raise _not_found(404, "HTTP 404 Not Found")

    def _register(self, subject: str, definition: Avro) -> object:
        try:
            return {"id": self._known(subject, definition).id}
        except _Refused:
            raise _not_allowed("schemas are changed in the hub's own files, not here") from None

    def _schema(self, number: str) -> Schema:
        schema = self._by_id.get(int(number)) if _is_number(number) else None
        if schema is None:
            raise _not_found(40403, f"Schema {number} not found")
        return schema

    def _versions(self, subject: str) -> tuple[Schema, ...]:
        if subject not in self._subjects:
            raise _not_found(40401, f"Subject '{subject}' not found.")
        return self._subjects[subject]

    def _version(self, subject: str, version: str) -> Schema:
        versions = self._versions(subject)
        if version in ("latest", "-1"):
            return versions[-1]
        if not _is_number(version) or int(version) == 0:
            message = f"The specified version '{version}' is not a valid version id."
            raise _Refused("422 Unprocessable Entity", 42202, message)
        for schema in versions:
            if schema.version == int(version):
                return schema
        raise _not_found(40402, f"Version {version} not found.")

    def _known(self, subject: str, definition: Avro) -> Schema:
        wanted = local_id(definition)
        for schema in self._versions(subject):
            if schema.id == wanted:
                return schema
        raise _not_found(40403, "Schema not found")


def _is_number(text: str) -> bool:
    # The length keeps a number out of int() that no id and no version can be.
    return text.isascii() and text.isdecimal() and len(text) <= len(str(1 << 31))


def _not_allowed(message: str) -> _Refused:
    return _Refused("405 Method Not Allowed", 405, message)


def _described(subject: str, schema: Schema) -> dict[str, object]:
    return {"subject": subject, "version": schema.version, "id": schema.id, "schema": schema.text}


def _posted(environ: "WSGIEnvironment") -> Avro:
    """The definition in a request's body, `{"schema": "<text>"}`."""
    try:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if not 0 <= size <= MAX_REQUEST_BYTES:
            raise _Refused("413 Content Too Large", 413, f"more than {MAX_REQUEST_BYTES} bytes")
        body = json.loads(environ["wsgi.input"].read(size))
        return json.loads(body["schema"])
    except (ValueError, TypeError, LookupError, RecursionError):
        raise _Refused("422 Unprocessable Entity", 42201, "Invalid schema") from None
