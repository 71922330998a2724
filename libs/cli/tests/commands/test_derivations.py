"""Derivations are created of what is typed, waited for, and shown."""

import asyncio
import subprocess
import sys

import pytest

from libs.cli.tests.commands.conftest import Terminal, check_reports
from libs.cli.tests.commands.derivation_answers import derivation
from libs.cli.tests.loop.running import Running
from tidemill.trainer.v1 import derivation_pb2 as pb
from tidemill.trainer.v1 import derivation_service_pb2 as rpc


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("derivations list --model helpdesk_small", ["dv-1", "helpdesk_lora@3", "int8", "helpdesk_small@1"]),
        ("derivations show dv-1", ["succeeded", "small@1", "136.0 of 270.0 MB"]),
        ("derivations cancel dv-1", ["cancelled", "merge"]),
        ("derivations delete dv-1", ["dv-1 is deleted"]),
        ("models derive helpdesk_lora@3 --model helpdesk_small --method merge", ["queued", "merge", "helpdesk_small"]),
        (
            "models derive small --model slim --method drop-layers --layers 4 --calibration sft",
            ["queued", "drop-layers 4 on sft", "slim"],
        ),
        (
            "models derive small --model thin --method prune-wanda --sparsity 0.5 --calibration sft@2",
            ["queued", "prune-wanda 0.5 on sft@2", "thin"],
        ),
        ("models derive small --model thin --method prune-magnitude --sparsity 0.25", ["prune-magnitude 0.25"]),
    ],
)
async def test_a_command_reports_people_and_programs(terminal: Terminal, command: str, reported: list[str]) -> None:
    await check_reports(terminal, command, reported)


@pytest.mark.parametrize(("state", "code"), [(pb.DERIVATION_STATE_SUCCEEDED, 0), (pb.DERIVATION_STATE_FAILED, 1)])
async def test_a_derivation_that_is_waited_for_ends_with_its_exit_code(
    terminal: Terminal, running: Running, state: pb.DerivationState.ValueType, code: int
) -> None:
    answer = "trainer.v1.derivation_service:GetDerivation"
    running.answers[answer] = lambda _: rpc.GetDerivationResponse(derivation=derivation(state))
    typed = "models derive helpdesk_lora@3 --model helpdesk_small --method int8 --label team=help --wait"

    said = await asyncio.to_thread(terminal, *typed.split())

    assert said.code == code, said.text


@pytest.mark.heavy
def test_commands_of_models_load_nothing_that_reads_loops() -> None:
    program = "import sys, tidemill_cli.resources; print({'tidemill_cli.loop', 'pydantic'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)  # noqa: S603 - our own interpreter

    assert answer.stdout.strip() == "set()"
