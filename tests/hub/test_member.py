"""The router's membership, as far as it needs no Kafka."""

from unittest import mock

import pytest
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
