"""An ordinary JavaScript client reads what the hub writes: kafkajs, lz4 in plain JavaScript, schemas from the hub's own routes."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from hub.core.events import Reading, Value
from hub.schema_routes import registry_app
from hub.schemas import Schemas
from hub.telemetry import serve_wsgi
from hub.wire import Wire, headers
from tests.brokers import Broker

JAVASCRIPT = Path(__file__).parents[1] / "js"
TOWNS = ("410122102", "410122103", "000000000")


def reading(number: int) -> Reading:
    """Every field differs from its default in some of them, and every null stands in some of them."""
    placed = number % 3 != 0
    return Reading(
        id=f"ZZ{number:03}/2061/2026030209010812{number % 10}",
        town=TOWNS[number % len(TOWNS)],
        device=f"ZZ{number:03}",
        vendor="清源",
        kind="air.reading",
        occurred_at=1772409600000 + number if number % 2 else None,
        accepted_at=1772413270004 + number,
        event_at=1772409600000 + number,
        time_mark="device" if number % 2 else "missing",
        lon=114.07613 + number / 7 if placed else None,
        lat=34.70211 - number / 7 if placed else None,
        datum="WGS84" if placed else "",
        message_code="2061",
        period_s=3600,
        backfilled=number % 5 == 0,
        incomplete=number % 4 == 0,
        values=tuple(
            Value(
                factor="a34004",
                statistic=statistic,
                value=None if (number + place) % 4 == 0 else number / 3 + place,
                unit="µg/m3",
                mark="N",
            )
            for place, statistic in enumerate(("Avg", "Min", "Max")[: number % 4])
        ),
    )


@pytest.mark.kafka
@pytest.mark.needs_node
def test_every_field_of_every_reading_arrives(broker: Broker) -> None:
    assert (JAVASCRIPT / "node_modules").is_dir(), f"run `npm ci` in {JAVASCRIPT} first (sh tests/run does)"
    sent = [reading(number) for number in range(300)]
    topic = f"javascript-{uuid4().hex}"
    wire = Wire.load()
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics([NewTopic(name=topic, num_partitions=3, replication_factor=1)])
    server, thread = serve_wsgi(registry_app(Schemas.load()), "127.0.0.1", 0)
    try:
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", compression_type="lz4", linger_ms=20)
        futures = [
            producer.send(topic, key=each.town.encode(), value=wire.encode(each), headers=headers(each))
            for each in sent
        ]
        producer.flush(30)
        producer.close(10)
        assert all(future.succeeded() for future in futures)
        registry = f"http://127.0.0.1:{server.server_port}"
        decoded = subprocess.run(
            ["node", "decode.mjs", broker.bootstrap, registry, topic, str(len(sent)), "60"],
            cwd=JAVASCRIPT,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    finally:
        server.stop()
        thread.join()
        admin.delete_topics([topic])
        admin.close()
    assert decoded.returncode == 0, decoded.stderr
    arrived = [json.loads(line) for line in decoded.stdout.splitlines()]
    for town in TOWNS:
        expected = [
            {
                "key": town,
                "headers": {name: text.decode() for name, text in headers(each)},
                "record": json.loads(json.dumps(asdict(each))),
            }
            for each in sent
            if each.town == town
        ]
        assert [each for each in arrived if each["key"] == town] == expected
    assert len(arrived) == len(sent)
