"""The router's membership, as far as it needs no Kafka."""

from types import SimpleNamespace
from unittest import mock

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaConnectionError

from hub.core.errors import Unavailable
from hub.settings import Settings
from hub.transactions import Member


def test_a_broker_that_goes_while_it_is_asked_for_partitions_is_unavailable() -> None:
    """And nothing is left of the consumer: the router tries again, and does not end."""
    with mock.patch("hub.transactions.KafkaConsumer") as made:
        made.return_value.partitions_for_topic.side_effect = KafkaConnectionError("gone")
        with pytest.raises(Unavailable, match="gone"):
            Member(Settings(), ["readings"], "a test")
    made.return_value.close.assert_called_once()


def test_a_header_that_is_null_is_an_empty_one() -> None:
    """Otherwise such a record could not be forwarded: no envelope has a place for it."""
    record = SimpleNamespace(
        topic="readings", partition=3, offset=5, timestamp=0, key=None, value=b"", headers=[("x", None), ("y", b"1")]
    )
    with mock.patch("hub.transactions.KafkaConsumer") as made:
        made.return_value.poll.return_value = {TopicPartition("readings", 3): [record]}
        made.return_value.group_metadata.return_value.generation_id = -1
        (arrived,) = Member(Settings(), ["readings"], "a test").poll(0.1).records[3]
    assert arrived.headers == (("x", b""), ("y", b"1"))


def test_an_input_that_nobody_leads_is_unavailable() -> None:
    """The library asks nobody for its end, and fails where it looks for the answer."""
    place = TopicPartition("readings", 3)
    with mock.patch("hub.transactions.KafkaConsumer") as made:
        made.return_value.assignment.return_value = {place}
        made.return_value.end_offsets.side_effect = KeyError(place)
        with pytest.raises(Unavailable, match="nobody leads"):
            Member(Settings(), ["readings"], "a test").ends([3])
