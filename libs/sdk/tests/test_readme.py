import re
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from libs.cli.tests.commands.answers import ANSWERS, declared, deployment, evaluation, training_run
from libs.cli.tests.commands.batch_answers import BatchAnswers, request_line
from libs.cli.tests.loop.running import Running
from libs.sdk.tests.fakes import FakeTidemill
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_COMPLETED
from tidemill.evaluator.v1.evaluation_service_pb2 import GetEvaluationResponse
from tidemill.inference.v1.rollout_pb2 import ROLLOUT_STATE_PROMOTED
from tidemill.trainer.v1.training_pb2 import TRAINING_RUN_STATE_SUCCEEDED
from tidemill.trainer.v1.training_service_pb2 import GetTrainingRunResponse
from tidemill_testkit.access import admin_token

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def program(example: str) -> Callable[[], Awaitable[None]]:
    """Return the example as a coroutine function."""
    names: dict[str, Any] = {}
    body = textwrap.indent(example, "    ")
    exec(compile(f"async def shown():\n{body}", str(README), "exec"), names)  # noqa: S102 - our own README
    shown: Callable[[], Awaitable[None]] = names["shown"]
    return shown


@pytest.fixture
def harness(services: FakeTidemill, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that the examples are run in: their files are there, and the services are found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reset.md").write_text("# Reset a password")
    (tmp_path / "requests.jsonl").write_text(f"{request_line(1)}\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "long.md").write_text("too long for this service")
    (tmp_path / "models").mkdir()
    folder.rename(tmp_path / "models" / "smollm2")
    services.ingest.limit = 20
    monkeypatch.setenv("TIDEMILL_CREDENTIAL", admin_token())
    for name, port in services.ports.items():
        monkeypatch.setenv(f"TIDEMILL_{name.upper()}_ADDRESS", f"127.0.0.1:{port}")
    return tmp_path


@pytest.fixture
async def turned(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A platform whose loop has turned once."""
    services = Running()
    services.answers.update(ANSWERS | BatchAnswers().answers())
    services.answers["trainer.v1.training_service:GetTrainingRun"] = lambda _: GetTrainingRunResponse(
        run=training_run(TRAINING_RUN_STATE_SUCCEEDED)
    )
    services.answers["evaluator.v1.evaluation_service:GetEvaluation"] = lambda _: GetEvaluationResponse(
        evaluation=evaluation(EVALUATION_STATE_COMPLETED)
    )
    declared(services)
    services.keepers["deployment"].stored["helpdesk"] = deployment(ROLLOUT_STATE_PROMOTED)
    services.start()
    for name in ("feedback", "monitor"):
        monkeypatch.setenv(f"TIDEMILL_{name.upper()}_ADDRESS", services.addresses().of(name))
    yield services
    services.stop()


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
async def test_what_the_readme_shows_works(
    example: str, turned: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if ".wait(" in example:
        for name, address in turned.addresses().services.items():
            monkeypatch.setenv(f"TIDEMILL_{name.upper()}_ADDRESS", address)
    await program(example)()

    assert capsys.readouterr().out
