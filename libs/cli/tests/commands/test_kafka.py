"""How commands speak to Kafka, and what they say of its ACLs."""

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tidemill_cli import kafka
from tidemill_cli.kafka_connection import REDRIVE, TOOLS, kafka_servers
from tidemill_cli.main import app
from tidemill_client.connection import UnusableTransport
from tidemill_core.errors import InvalidInput
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.acls import Acl
from tidemill_kit.events.administration import Applied
from tidemill_kit.events.connection import client_options


def test_kafka_is_spoken_to_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"KAFKA_ADDRESS": "kafka:9092", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    given |= {"KAFKA_USERNAME": "ada", "KAFKA_PASSWORD": "a secret"}
    for name, value in given.items():
        monkeypatch.setenv(f"TIDEMILL_{name}", value)

    options = client_options(kafka_servers())
    assert options["bootstrap_servers"] == "kafka:9092"
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_plain_password"] == "a secret"  # noqa: S105 - of this test


def test_what_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_KAFKA_ADDRESS", "kafka:9092")
    monkeypatch.setenv("TIDEMILL_KAFKA_CA_FILE", "/nowhere")
    with pytest.raises(UnusableTransport, match="TIDEMILL_KAFKA_CA_FILE Path does not point to a file"):
        kafka_servers()


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of a running stack whose Kafka has users."""
    folder = tmp_path / ".tidemill"
    (folder / "kafka").mkdir(parents=True)
    document = {"kafka": "127.0.0.1:9092", "services": {}, "kafka_passwords": str(folder / "kafka")}
    (folder / "stack.json").write_text(json.dumps(document))
    for user in (TOOLS, REDRIVE):
        (folder / "kafka" / f"{user}.password").write_text(f"of {user}\n")
    monkeypatch.delenv("TIDEMILL_KAFKA_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("user", [TOOLS, REDRIVE])
def test_the_running_stack_is_spoken_to_as_one_of_its_users(user: str) -> None:
    options = client_options(kafka_servers(user))
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == (user, f"of {user}")


@pytest.mark.usefixtures("stack")
def test_another_kafka_gets_none_of_the_stacks_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_KAFKA_ADDRESS", "kafka:9092")
    assert client_options(kafka_servers())["security_protocol"] == "PLAINTEXT"


def test_passwords_outside_the_folder_of_a_stack_are_not_used(stack: Path) -> None:
    document = {"kafka": "kafka.example:9092", "services": {}, "kafka_passwords": "/etc"}
    (stack / "stack.json").write_text(json.dumps(document))
    assert client_options(kafka_servers())["security_protocol"] == "PLAINTEXT"


@pytest.mark.usefixtures("stack")
def test_a_secret_does_not_go_to_another_machine_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"ADDRESS": "kafka:9092", "SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "PLAIN"}
    for name, value in {**given, "USERNAME": "ada", "PASSWORD": "a secret"}.items():
        monkeypatch.setenv(f"TIDEMILL_KAFKA_{name}", value)
    with pytest.raises(UnusableTransport, match="TIDEMILL_KAFKA_SECURITY_PROTOCOL=SASL_SSL"):
        kafka_servers()
    monkeypatch.setenv("TIDEMILL_TLS_ALLOW_PLAINTEXT", "true")
    assert kafka_servers().username == "ada"


SOURCE = "tidemill.ingest.submission.v1.acme.kb"
OTHER = Acl.of("User:ada ALL topic literal tidemill.x.v1 10.0.0.7 deny")


class Administrator:
    """Has one topic of a source, and one entry that no table has."""

    def __init__(self) -> None:
        self.entries: set[Acl] = {OTHER}

    async def topics(self) -> Sequence[str]:
        return [SOURCE]

    async def apply(self, table: Collection[Acl], *, dry_run: bool) -> Applied:
        missing, there = sorted(set(table) - self.entries), len(set(table) & self.entries)
        self.entries |= set() if dry_run else set(missing)
        return Applied(added=missing, there=there, others=[OTHER])


@pytest.mark.usefixtures("stack")
def test_acls_are_shown_planned_and_applied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    admin, spoken_to = Administrator(), list[KafkaServers]()

    @asynccontextmanager
    async def connected(servers: KafkaServers) -> AsyncIterator[Administrator]:
        spoken_to.append(servers)
        yield admin

    def typed(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["kafka", "acls", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.output))

    monkeypatch.setattr(kafka, "administrator", connected)
    table = typed("show")["acls"]
    of_rag = typed("show", "User:tidemill-rag")["acls"]
    assert {each["principal"] for each in of_rag} == {"User:tidemill-rag"}
    assert [each for each in table if each in of_rag] == of_rag
    assert spoken_to == []

    planned, first, second = typed("apply", "--dry-run"), typed("apply"), typed("apply")
    assert planned["added"] == first["added"]
    assert len(first["added"]) == len(table) + 1
    of_source = [each for each in first["added"] if each["name"] == SOURCE]
    assert [(each["principal"], each["operation"]) for each in of_source] == [("User:tidemill-source.acme.kb", "WRITE")]
    assert (second["added"], second["there"], len(second["others"])) == ([], len(table) + 1, 1)
    assert {each.username for each in spoken_to} == {"tidemill-admin"}

    said = CliRunner().invoke(app, ["kafka", "acls", "apply"]).output
    assert f"? {OTHER}" in said


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table"
    file.write_text("User:ada ALL\n")
    done = CliRunner().invoke(app, ["kafka", "acls", "show", "--table", str(file)])
    assert isinstance(done.exception, InvalidInput)
    assert "is no table of ACLs" in str(done.exception)
