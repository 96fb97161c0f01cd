"""What fuzzing begins with: the good and the bad messages that the other tests know, as `targets` takes them."""

import json
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO, StringIO

from fastavro import json_reader, parse_schema, schemaless_writer

from hub.schemas import Schemas
from hub.shipped import shipped
from tests.connectors.air.contract import CONTRACT as AIR
from tests.connectors.camera.layouts import LAYOUTS
from tests.connectors.contract.cases import Contract
from tests.connectors.patrol.contract import CONTRACT as PATROL


def _sent(contract: Contract) -> Iterable[bytes]:
    return [case.sent for case in (*contract.accept, *contract.refuse)]


def _hj212() -> Iterable[bytes]:
    cut = [size + sent for sent in _sent(AIR) for size in (b"\x00", b"\x10")]
    # Without what frames them, for what is framed anew.
    return cut + [b"\xff" + sent[6:-6] for sent in _sent(AIR) if sent.startswith(b"##")]


def _isapi() -> Iterable[bytes]:
    return [one.content_type.encode("latin-1") + b"\n" + one.body for one in LAYOUTS]


def _patrol() -> Iterable[bytes]:
    bodies = [sent.partition(b"\r\n\r\n")[2] for sent in _sent(PATROL)]
    return [bytes([datum]) + body for body in bodies for datum in range(3)]


def _wire() -> Iterable[bytes]:
    schemas = Schemas.load()
    for path in sorted(shipped("schemas/examples").glob("*/*.json")):
        [schema] = [one for one in schemas if one.name == path.parent.name]
        avro = parse_schema(dict(schema.definition), named_schemas={})
        [plain] = json_reader(StringIO(json.dumps(json.loads(path.read_text(encoding="utf-8")))), avro)
        body = BytesIO()
        schemaless_writer(body, avro, plain)
        yield b"\x00" + schema.id.to_bytes(4) + body.getvalue()


SEEDS: Mapping[str, Callable[[], Iterable[bytes]]] = {
    "hj212": _hj212,
    "isapi": _isapi,
    "patrol": _patrol,
    "wire": _wire,
}
