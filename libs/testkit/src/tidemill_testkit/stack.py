"""Real servers for tests: Kafka, MongoDB and S3, started once per run, or attached to.

The first test that needs them starts them, in whichever process it runs. The processes of one run share them; the one
that began the run stops them at its end, with whatever else the run has left, also when it is ended by SIGTERM.
`TIDEMILL_TEST_STACK` may name a stack.json: then its servers are used and left running, which saves their start. Its
Kafka has to take everyone: `python -m tidemill_local up --servers-only --open-kafka --folder FOLDER`. Every test makes
its own topics, databases, buckets and projects: see `unique_name`.
"""

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tidemill_local import Addresses, LocalStack
from tidemill_local.supervision import end_left_overs
from tidemill_testkit.sole_member import RUN

ATTACH = "TIDEMILL_TEST_STACK"

ROOMY = {"GOMEMLIMIT": "1GiB", "GOGC": "100"}
"""Memory instead of processor time, for the object store of tests."""

_FOLDER = pytest.StashKey[Path]()
_SHARED = "tidemill_stack_folder"

NewTopicFactory = Callable[..., Awaitable[str]]
"""Called with `partitions=1, configs={}`; returns the topic's name."""


def unique_name(prefix: str) -> str:
    """Return a name that no other test has, good for topics, databases, buckets and projects."""
    return f"{prefix}-{uuid4().hex[:12]}"


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folder of this run's servers; a worker of pytest-xdist gets it from the process that began the run."""
    if shared := getattr(config, "workerinput", {}).get(_SHARED):
        config.stash[_FOLDER] = Path(shared)
        return
    config.stash[_FOLDER] = Path(tempfile.mkdtemp(prefix="tidemill-test-"))
    os.environ[RUN] = str(config.stash[_FOLDER])
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> None:
    """End the run as Ctrl-C does, which stops the servers; a second signal does not disturb that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - a worker's controller, where pytest-xdist is installed
    """Give a worker the folder of the run."""
    node.workerinput[_SHARED] = str(node.config.stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the run's servers, if any test started them, and end what workers that were killed have left."""
    folder = config.stash.get(_FOLDER, None)
    if folder is not None and not hasattr(config, "workerinput"):
        LocalStack(folder / "servers").down()
        end_left_overs(folder, mark=RUN)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Addresses:
    """Give the addresses of Kafka, MongoDB and S3 (of the services only when the attached stack runs them)."""
    if pytestconfig.getoption("quick", default=False):
        pytest.skip("needs servers")
    if running := os.environ.get(ATTACH):
        found = Addresses.read(Path(running))
        assert not found.kafka_passwords, f"{ATTACH}: its Kafka asks for credentials; start it with --open-kafka"
        return found
    folder = pytestconfig.stash[_FOLDER]
    with _locked(folder / "lock"), pytest.MonkeyPatch.context() as patch:
        for variable, value in ROOMY.items():
            patch.setenv(variable, value)
        return LocalStack(folder / "servers", services=False, open_kafka=True).up()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Wait until no other process of the run starts the servers."""
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


@pytest.fixture
async def new_topic(stack: Addresses) -> AsyncIterator[NewTopicFactory]:
    """Give a function that creates a topic of the test's own; they are deleted when the test ends."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    names: list[str] = []

    async def create(*, partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
        name = unique_name("test")
        reply = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(configs or {}))])
        refused = [error for _, error, *_ in reply.topic_errors if error]
        assert not refused, reply
        names.append(name)
        return name

    yield create
    if names:
        await admin.delete_topics(names)
    await admin.close()
