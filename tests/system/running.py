"""What the system tests know of the platform: its addresses, the `tidemill` command, and patience with a deadline."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

import pytest
from minio import Minio

from tidemill.monitor.v1.access_pb2 import Project, ServiceAccount
from tidemill_cli.kafka_connection import REDRIVE
from tidemill_cli.lazy import COMMANDS
from tidemill_client.access import Access
from tidemill_client.connection import SERVICES, Addresses, Connection
from tidemill_core.errors import AlreadyExists
from tidemill_helpdesk.example import Example, upstream
from tidemill_helpdesk.turn import TAUGHT, TRUSTED_CASES
from tidemill_local import LocalStack
from tidemill_testkit.imported_program import Call, ImportedProgram
from tidemill_testkit.stack import ROOMY, unique_name

ROOT = Path(__file__).resolve().parents[2]
LOOP = ROOT / "examples" / "helpdesk" / "loop.yaml"
SOURCE = "https://cms.example/kb"
PATIENCE_S = 300.0
COMMAND = (
    "tidemill_cli.main:main",
    *sorted({f"tidemill_cli.{place.partition(':')[0]}" for place in COMMANDS.values()}),
)
"""The command with all of its modules, which it imports when it needs them."""
SHORT = {
    "EVALUATOR_MIN_QUESTIONS": "3",
    **{f"{name.upper()}_ERASURE_RECHECK_S": "3" for name in SERVICES},
    "INFERENCE_REMOTE_HOSTS": "127.0.0.1",
    "INFERENCE_SECRETS_ALLOWED_HOSTS": "127.0.0.1,api.openai.com",
    "FEEDBACK_HTTP_RPCS": "true",
    "MONITOR_HTTP_RPCS": "true",
}
"""Settings of the services here: the short turn has few cases, a provider of models runs on this machine, and what can
be served by HTTP is."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    output: str
    errors: str

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever JSON it is
        """The JSON document that it printed."""
        return json.loads(self.output)


@dataclass(frozen=True, slots=True)
class Platform:
    """A running stack and one project in it."""

    folder: Path
    addresses: Addresses
    project: str

    def tidemill(self, *arguments: str, piped: str | None = None, at: Path = ROOT) -> Outcome:
        """Run the command as a user would, in a folder."""
        named = {f"TIDEMILL_{name.upper()}_ADDRESS": address for name, address in self.addresses.services.items()}
        environment = os.environ | named
        environment |= {
            "TIDEMILL_PROJECT": self.project,
            "TIDEMILL_CREDENTIAL_FILE": self.addresses.credential_file,
            "TIDEMILL_KAFKA_ADDRESS": self.addresses.kafka,
            "TIDEMILL_HTTP_ADDRESS": self.addresses.http,
            **self._kafka_user(),
            "TIDEMILL_LOOP_FILES": str(ROOT / ".tidemill"),  # loops of tests lie elsewhere than the models
        }
        with TemporaryFile() as read, TemporaryFile() as output, TemporaryFile() as errors:
            read.write((piped or "").encode())
            for each in (read, output, errors):
                each.seek(0)
            call = Call(environment=environment, arguments=arguments, folder=str(at))
            process = ImportedProgram.start(COMMAND, call, (read, output, errors))
            late, code = "", -1
            try:
                code = process.wait_or_kill(PATIENCE_S) if process else -1
            except TimeoutError as error:
                late = str(error)
            output.seek(0)
            errors.seek(0)
            outcome = Outcome(code, output.read().decode(), errors.read().decode())
        assert process is not None, outcome.errors
        assert not late, f"{late}; it was killed, and had printed:\n{outcome.output[-2000:]}\n{outcome.errors[-2000:]}"
        return outcome

    def _kafka_user(self) -> dict[str, str]:
        file = self.addresses.kafka_password(REDRIVE)
        named = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "USERNAME": REDRIVE, "PASSWORD_FILE": str(file)}
        return {f"TIDEMILL_KAFKA_{name}": value for name, value in named.items()} if file else {}

    def publish(self, *lines: object, to: str = "ingest", signed: bool = True, key: str = "") -> int:
        """Publish documents, or feedback, by the example's script, which has none of our code; `key` may sign."""
        arguments = [*upstream(Connection(self.project, self.addresses), to), "--source", SOURCE]
        arguments += [] if signed and not key else ["--key", key]
        return int(self.run("publish.py", *arguments, stdin="\n".join(json.dumps(line) for line in lines))["published"])

    def api_key(self, role: str = "contributor") -> tuple[str, str]:
        """Return the name and the token of a new API key of the project, as its admin makes one for a product."""
        return self.api_keys(role)[role]

    def api_keys(self, *roles: str) -> dict[str, tuple[str, str]]:
        """Return name and token of a new API key of each role; made by the SDK, which takes less than commands."""

        async def issued() -> dict[str, tuple[str, str]]:
            async with Connection(self.project, self.addresses) as connection:
                access, made = Access(connection), dict[str, tuple[str, str]]()
                with suppress(AlreadyExists):
                    await access.projects.create(Project(id=self.project))
                for role in roles:
                    account = ServiceAccount(id=unique_name("product"), roles=[role])
                    await access.service_accounts.create(account)
                    name = unique_name("key")
                    made[role] = (name, (await access.keys.create(name, account.id)).token)
                return made

        with ThreadPoolExecutor(max_workers=1) as apart:  # the caller's thread may run an event loop
            return apart.submit(asyncio.run, issued()).result()

    def run(self, script: str, *arguments: str, stdin: str, **environment: str) -> dict[str, Any]:
        """Run a script of the example and return the JSON that it prints."""
        done = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(LOOP.with_name(script)), *arguments],
            input=stdin,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def objects_of(platform: Platform) -> list[str]:
    """Return the names of all objects in the stack's store."""
    store = json.loads((platform.folder / "stack.json").read_text())["s3"]
    client = Minio(store["endpoint"], store["access_key"], store["secret_key"], secure=False)
    buckets = [bucket.name for bucket in client.list_buckets()]
    return [each.object_name or "" for name in buckets for each in client.list_objects(name, recursive=True)]


@contextmanager
def running_stack(**environment: str) -> Iterator[Path]:
    """Run a stack whose services get these variables, or take that of TIDEMILL_TEST_PLATFORM; yield its folder."""
    if running := os.environ.get("TIDEMILL_TEST_PLATFORM"):
        yield Path(running)
        return
    with tempfile.TemporaryDirectory(prefix="tidemill-system-") as name:
        stack = LocalStack(Path(name) / ".tidemill")
        try:
            with pytest.MonkeyPatch.context() as patch:  # the variables are not those of other tests in this process
                for variable, value in {**ROOMY, **SHORT, **environment}.items():
                    patch.setenv(variable, value)
                stack.up()
            yield Path(name) / ".tidemill"
        finally:
            stack.down()


def write_trusted_cases() -> None:
    """Write the suite that the example's loop names, as the demo does."""
    example = Example.find()
    documents = asyncio.run(example.documents())
    example.write_trusted_cases(example.trusted(documents, TRUSTED_CASES, taught=TAUGHT))


async def wait_until(condition: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Return the condition's first result that is not empty; fail with what was waited for."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (result := await condition()):  # noqa: ASYNC110 - another process, which sets no event
                await asyncio.sleep(0.2)
            return result
    except TimeoutError:
        message = f"waited {PATIENCE_S:.0f} s for {what}"
        raise AssertionError(message) from None
