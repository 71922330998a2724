"""Java's archive of Kafka's classes."""

import subprocess
from pathlib import Path

import pytest

from infra.local.tests.conftest import node_in
from tidemill_local import class_archive
from tidemill_local.kafka import KafkaNode
from tidemill_local.places import JARS


def test_java_takes_the_archive_of_this_checkout(tmp_path: Path) -> None:
    if not (JARS / class_archive.STAMP).exists():
        pytest.skip("`make setup` makes it")
    *flags, classpath = node_in(tmp_path, passwords=False).command()[:-2]

    assert f"-XX:AOTCache={KafkaNode.archive(JARS)}" in flags
    required = [
        *flags,
        classpath,
        "-XX:AOTMode=on",
        "--version",
    ]  # by itself Java goes on without one that does not fit
    assert subprocess.run(required, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own command


def test_without_an_archive_kafka_loads_its_classes_itself(tmp_path: Path) -> None:
    node = node_in(tmp_path, passwords=False)
    other = KafkaNode(
        jars=tmp_path,
        data=node.data,
        settings=node.settings,
        cluster=node.cluster,
        broker_port=node.broker_port,
        controller_port=node.controller_port,
        passwords=None,
    )

    assert [option for option in other.command() if "AOT" in option] == []


@pytest.mark.parametrize("fails", [False, True])
def test_an_archive_is_made_once_and_its_lack_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    said = list[str]()

    def run_once(_jars: Path, _folder: Path, made: Path, log: Path) -> None:
        log.write_text("no memory")
        if not fails:
            made.write_text("classes")

    monkeypatch.setattr(class_archive, "_run_once", run_once)
    class_archive.ensure(tmp_path, said.append)
    class_archive.ensure(tmp_path, said.append)

    assert [KafkaNode.archive(tmp_path).exists(), any("no memory" in each for each in said)] == [not fails, fails]
    assert len(said) == 1 + fails
    assert {each.name for each in tmp_path.iterdir()} == {class_archive.STAMP, *([] if fails else ["kafka.aot"])}
