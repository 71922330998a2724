import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from libs.cli.tests.commands.answers import ANSWERS, declared
from libs.cli.tests.commands.batch_answers import BatchAnswers
from libs.cli.tests.commands.derivation_answers import DERIVATION_ANSWERS
from libs.cli.tests.commands.erasure_answers import ERASURE_ANSWERS
from libs.cli.tests.commands.experiment_answers import EXPERIMENTS
from libs.cli.tests.commands.harness_answers import HarnessAnswers
from libs.cli.tests.commands.judge_answers import JUDGE_ANSWERS
from libs.cli.tests.commands.metric_answers import METRIC_ANSWERS
from libs.cli.tests.commands.profile_answers import ProfileAnswers
from libs.cli.tests.commands.prompt_answers import PromptAnswers
from libs.cli.tests.commands.retrieval_answers import RetrievalAnswers
from libs.cli.tests.commands.review_answers import ReviewAnswers
from libs.cli.tests.commands.run_answers import RUN_ANSWERS
from libs.cli.tests.commands.sweep_answers import SWEEP_ANSWERS
from libs.cli.tests.loop.running import Running, Server
from tidemill_cli.main import app
from tidemill_cli.output import stderr, stdout
from tidemill_testkit.access import admin_token

WIDTH = 200
"""Of the terminal: no table is broken."""


@dataclass
class Said:
    """What a command printed, and its exit code."""

    code: int
    text: str
    data: Any = field(default_factory=dict)


@dataclass
class Terminal:
    """Types commands; each runs in a thread with an event loop of its own, as a process of its own would."""

    environment: dict[str, str]

    def __call__(self, *arguments: str) -> Said:
        said = self.typed(*arguments)
        return Said(said.code, said.text, json.loads(said.text) if "--json" in arguments else {})

    def typed(self, *arguments: str, piped: str = "") -> Said:
        """Run a command whose output is more than one document, or that reads standard input."""
        environment = {**self.environment, "COLUMNS": str(WIDTH)}
        with pytest.MonkeyPatch.context() as patch:
            for console in (stdout, stderr):
                patch.setattr(console, "width", WIDTH)  # rich read it from the environment at import
            result = CliRunner().invoke(app, arguments, input=piped, env=environment, catch_exceptions=False)
        return Said(result.exit_code, result.output)


@pytest.fixture
def batches() -> BatchAnswers:
    """Files and batches of the platform."""
    return BatchAnswers()


@pytest.fixture
def searches() -> RetrievalAnswers:
    """A collection that is searched, measured and tuned."""
    return RetrievalAnswers()


@pytest.fixture
def profiles() -> ProfileAnswers:
    """A source that documents came into."""
    return ProfileAnswers()


@pytest.fixture
def harness_runs() -> HarnessAnswers:
    """Runs of harnesses."""
    return HarnessAnswers()


@pytest.fixture
def reviews() -> ReviewAnswers:
    """A review queue with three documents."""
    return ReviewAnswers()


@pytest.fixture
def prompted() -> PromptAnswers:
    """Prompts that are compared."""
    return PromptAnswers()


@pytest.fixture
async def running(  # noqa: PLR0913, PLR0917 - what the parts of the platform answer
    server: Server,
    batches: BatchAnswers,
    searches: RetrievalAnswers,
    profiles: ProfileAnswers,
    reviews: ReviewAnswers,
    prompted: PromptAnswers,
    harness_runs: HarnessAnswers,
) -> AsyncIterator[Running]:
    """A platform in the middle of a turn."""
    services = Running()
    services.answers.update(
        ANSWERS
        | DERIVATION_ANSWERS
        | ERASURE_ANSWERS
        | METRIC_ANSWERS
        | SWEEP_ANSWERS
        | batches.answers()
        | searches.answers()
    )
    services.answers.update(profiles.answers() | reviews.answers() | JUDGE_ANSWERS | prompted.answers() | EXPERIMENTS)
    services.answers.update(RUN_ANSWERS)
    services.answers.update(harness_runs.answers())
    declared(services)
    with capture_logs():  # a command's output is caught in this process, where the services would log into it
        services.start(server)
        yield services
        services.stop()


@pytest.fixture
def terminal(running: Running, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr("tidemill_client.waiting.POLL_S", 0.01)
    addresses = running.addresses().services
    environment = {f"TIDEMILL_{name.upper()}_ADDRESS": address for name, address in addresses.items()}
    return Terminal({**environment, "TIDEMILL_PROJECT": "acme", "TIDEMILL_CREDENTIAL": admin_token()})


async def check_reports(terminal: Terminal, command: str, reported: Sequence[str]) -> None:
    """Check what a command prints for people, and that it prints something for programs."""
    people = await asyncio.to_thread(terminal, *command.split())
    programs = await asyncio.to_thread(terminal, *command.split(), "--json")

    assert (people.code, programs.code) == (0, 0), people.text
    assert [each for each in reported if each not in people.text] == []
    assert programs.data
