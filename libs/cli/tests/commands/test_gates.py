"""What applying a file says of the gates that it changes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from libs.cli.tests.commands.answers import ANSWERS
from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.conftest import LOOP, TRUTH
from libs.cli.tests.loop.running import Running, Server
from tidemill.evaluator.v1.evaluation_pb2 import RequirementPower
from tidemill_cli.gates import requirement_line

POWER = "evaluator.v1.evaluation_service:GetGatePower"
ASSUMED = (
    "gate helpdesk_gate: rouge_l on suite:truth@1: finds a gain of 0.12 with 80% of 60 questions, "
    "260 would find 0.05 (deviation assumed)"
)


@pytest.fixture
async def running(server: Server) -> AsyncIterator[Running]:
    """A platform without anything, whose evaluator states the power of a gate."""
    services = Running()
    services.answers[POWER] = ANSWERS[POWER]
    with capture_logs():  # of the services, which would come into the command's output
        services.start(server)
        yield services
        services.stop()


async def test_applying_says_what_each_requirement_of_a_changed_gate_finds(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "truth.jsonl").write_text(TRUTH)
    (tmp_path / "loop.yaml").write_text(LOOP)
    command = ["apply", "-f", str(tmp_path / "loop.yaml"), "--json"]

    first, again = [await asyncio.to_thread(terminal, *command) for _ in range(2)]

    assert first.code == 0, first.text
    assert first.data["power"] == [ASSUMED, "gate helpdesk_gate: rouge_l on sft: not known yet"]
    assert again.data["power"] == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"detectable_gain": 0.12, "evaluation": "ev-1", "needed_questions": 50},
            "finds a gain of 0.12 with 80% of 60 questions",
        ),
        ({"evaluation": "ev-1"}, "finds no gain of 60 questions, no number would find 0.05 above 0"),
        (
            {"evaluation": "ev-1", "needed_questions": 780, "clusters": 20},
            "finds no gain of 60 questions in 20 clusters, 780 would find 0.05",
        ),
        (
            {"evaluation": "ev-1", "needed_questions": 260},
            "finds no gain of 60 questions, 260 would find 0.05",
        ),
        (
            {"message": "its deviation is assumed: ev-1", "needed_questions": 60},
            "finds no gain of 60 questions (its deviation is assumed: ev-1)",
        ),
    ],
)
def test_a_line_says_what_is_found_and_what_would_do(changed: dict[str, object], said: str) -> None:
    found = RequirementPower(case_set="suite:truth@1", metric="rouge_l", gain=0.05, questions=60, power=0.34)
    found.MergeFrom(RequirementPower(**changed))  # type: ignore[arg-type]

    assert requirement_line(found, 0.8) == f"rouge_l on suite:truth@1: {said}"
