"""What can be said of the containers without running them."""

import ast
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_feedback.settings import FeedbackSettings
from tidemill_inference.settings import InferenceSettings
from tidemill_ingest.settings import IngestSettings
from tidemill_kit.access.installation import ISSUER, AccessFiles
from tidemill_kit.events.passwords import PasswordFiles
from tidemill_kit.runtime.settings import ServiceSettings, load
from tidemill_local.kafka import BROKER, KafkaNode, user_of
from tidemill_local.places import StackFolder
from tidemill_local.programs import PORT_NAMES, SERVICES, Choices, addresses, service_environment
from tidemill_monitor.settings import MonitorSettings
from tidemill_rag.settings import RagSettings
from tidemill_trainer.settings import TrainerSettings

PASSWORDS = Path("/access/kafka")
ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sysconfig.get_path("scripts"))
SETTINGS: dict[str, type[ServiceSettings]] = {
    "ingest": IngestSettings,
    "rag": RagSettings,
    "trainer": TrainerSettings,
    "inference": InferenceSettings,
    "feedback": FeedbackSettings,
    "evaluator": EvaluatorSettings,
    "monitor": MonitorSettings,
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    return dict(yaml.safe_load(re.sub(r"\$\{\w+:[?-]([^}]*)\}", r"\1", text)))


def check(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own commands
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_file_is_a_compose_file() -> None:
    check(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_the_dockerfile_passes_its_linter() -> None:
    check(str(BIN / "hadolint"), "infra/docker/Dockerfile")


def test_every_service_of_the_repository_is_a_container(compose: dict[str, Any]) -> None:
    folders = {file.parent.name for file in ROOT.glob("services/*/pyproject.toml")}
    assert folders == set(SERVICES) == set(SETTINGS)
    assert folders <= compose["services"].keys()


@pytest.mark.parametrize("service", SETTINGS)
def test_a_container_gets_every_setting_that_its_service_needs(
    service: str, compose: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = compose["services"][service]["environment"]
    name = f"{service.upper()}_KAFKA_PASSWORD_FILE"
    files = PasswordFiles(tmp_path)
    files.ensure([user_of(service)])
    assert environment[name] == str(PasswordFiles(PASSWORDS).file(user_of(service)))
    assert environment[f"{service.upper()}_KAFKA_USERNAME"] == user_of(service)
    check_settings(service, environment | {name: str(files.file(user_of(service)))}, monkeypatch)


@pytest.mark.parametrize("service", SETTINGS)
def test_a_process_gets_every_setting_that_its_service_needs(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = {name: 20_000 + number for number, name in enumerate(PORT_NAMES)}
    choices = Choices(ports=ports, cluster="c", access_key="a", secret_key="s")  # noqa: S106 - of no server
    stack = addresses(StackFolder(tmp_path), choices)
    StackFolder(tmp_path).kafka_passwords.ensure([user_of(service)])
    check_settings(service, service_environment(service, folder=StackFolder(tmp_path), stack=stack), monkeypatch)


def check_settings(service: str, environment: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = f"{service.upper()}_"
    settings = [name for name in environment if not name.startswith("MALLOC_")]  # those are of glibc
    unknown = {name for name in settings if name.removeprefix(prefix).lower() not in SETTINGS[service].model_fields}
    assert not unknown
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    assert load(SETTINGS[service]).service == service


def test_containers_map_no_tensor_anew() -> None:
    set_to = dict(re.findall(r"(MALLOC_\w+)=(\d+)", (ROOT / "infra" / "docker" / "Dockerfile").read_text()))

    # Setting either keeps the other one at 128 KB.
    assert int(set_to["MALLOC_MMAP_THRESHOLD_"]) >= 32 * 1024**2
    assert int(set_to["MALLOC_TRIM_THRESHOLD_"]) >= 32 * 1024**2


def test_the_vectors_of_containers_are_in_the_qdrant_server(compose: dict[str, Any]) -> None:
    assert compose["services"]["rag"]["environment"]["RAG_VECTOR_STORE"] == "server"


def test_writes_to_mongodb_are_journaled_and_kept_by_a_majority(compose: dict[str, Any]) -> None:
    for service in SERVICES:
        assert compose["services"][service]["environment"][f"{service.upper()}_MONGO_URI"].endswith(
            "w=majority&journal=true"
        )


@pytest.mark.parametrize("service", SETTINGS)
def test_every_container_demands_credentials_and_reads_what_the_access_job_writes(
    service: str, compose: dict[str, Any]
) -> None:
    job, container = compose["services"]["access"], compose["services"][service]
    folder, *named = job["command"]
    written = AccessFiles(Path(folder))
    issuer, _, keys = container["environment"][f"{service.upper()}_ACCESS_ISSUERS"].partition("=")

    assert (issuer, keys) == (ISSUER, f"file:{written.public_keys}")
    assert container["environment"][f"{service.upper()}_ACCESS_CREDENTIAL_FILE"] == str(written.service(service))
    assert service in named
    assert f"access:{folder}:ro" in container["volumes"]
    assert job["volumes"] == [f"access:{folder}"]


def test_monitor_signs_by_the_key_of_the_access_job(compose: dict[str, Any]) -> None:
    environment = compose["services"]["monitor"]["environment"]

    assert environment["MONITOR_SIGNING_KEYS_FILE"] == str(AccessFiles(Path("/access")).signing_keys)
    assert environment["MONITOR_ISSUER"] == ISSUER


def test_kafka_has_the_users_and_acls_of_the_local_stack(compose: dict[str, Any], tmp_path: Path) -> None:
    job, kafka = compose["services"]["topics"], compose["services"]["kafka"]["environment"]
    given = {_property(name): value for name, value in kafka.items()}
    node = KafkaNode(
        jars=tmp_path,
        data=tmp_path,
        settings=tmp_path / "settings",
        cluster="c",
        broker_port=9092,
        controller_port=9093,
        passwords=PasswordFiles(tmp_path),
    )
    (password,) = PasswordFiles(tmp_path).ensure([BROKER]).values()
    local = node.security()
    same = {name.replace("name.clients.", "name.inside."): value for name, value in local.items()}
    ours = str(job["environment"]["TIDEMILL_KAFKA_PASSWORD"])
    of_broker = {name: str(value).replace("${KAFKA_BROKER_PASSWORD}", ours) for name, value in given.items()}

    del same["listener.security.protocol.map"]
    assert same.items() <= {name: value.replace(ours, password) for name, value in of_broker.items()}.items()
    protocols = dict(each.split(":") for each in given["listener.security.protocol.map"].split(","))
    assert set(protocols.values()) == {"SASL_PLAINTEXT"}
    assert given["listener.name.outside.sasl.enabled.mechanisms"] == "SCRAM-SHA-512"
    assert job["command"][-2:] == ["--passwords", str(PASSWORDS)]
    assert job["environment"]["TIDEMILL_KAFKA_USERNAME"] == BROKER
    assert f"access:{PASSWORDS.parent}" in job["volumes"]


def _property(name: str) -> str:
    """Return the property that the image of Kafka makes of a variable."""
    words = name.removeprefix("KAFKA_").lower().replace("___", "-").replace("__", "\0")
    return words.replace("_", ".").replace("\0", "_")


def test_ports_listen_on_this_machine_only(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_container_that_stays_reports_its_health(compose: dict[str, Any]) -> None:
    servers = {name: service for name, service in compose["services"].items() if name not in {*SERVICES, "topics"}}
    assert all("healthcheck" in service for service in servers.values())
    assert "\nHEALTHCHECK " in (ROOT / "infra" / "docker" / "Dockerfile").read_text("utf-8")


def test_the_topics_job_finds_its_libraries_in_the_image_that_runs_it() -> None:
    tree = ast.parse((ROOT / "infra/local/src/tidemill_local/topics.py").read_text("utf-8"))
    imported = {
        node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    locked = set(re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / "services/ingest/requirements.lock").read_text("utf-8")))
    assert {"tidemill_local"}.isdisjoint(imported)
    assert {"aiokafka", "pydantic", "pyyaml"} <= locked
    assert imported & {"aiokafka", "pydantic", "yaml"} == {"aiokafka", "pydantic", "yaml"}
