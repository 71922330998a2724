"""A Kafka node's own storage."""

from pathlib import Path

from tidemill_local.kafka import KafkaNode
from tidemill_local.places import JARS


def test_a_cluster_id_may_begin_with_a_dash(tmp_path: Path) -> None:
    node = KafkaNode(
        jars=JARS,
        data=tmp_path / "kafka",
        settings=tmp_path / "kafka.properties",
        cluster="-KtH3T0mQnyDLxSfHk9ZLw",
        broker_port=9092,
        controller_port=9093,
    )

    node.prepare()

    assert "cluster.id=-KtH3T0mQnyDLxSfHk9ZLw" in (tmp_path / "kafka/meta.properties").read_text()
