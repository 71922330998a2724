import asyncio
from pathlib import Path

import pytest

from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_helpdesk.steps import CONTINUE, StepFailed, Steps


class Work:
    """A step that fails the first times and notes each time that it is done."""

    def __init__(self, *, fails: int = 0) -> None:
        self.calls = 0
        self._fails = fails

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._fails:
            message = "the trainer does not answer"
            raise DependencyUnavailable(message, dependency="trainer")
        return "a model"


def started(folder: Path) -> Steps:
    return Steps(file=folder / "demo" / "unfinished.json", project="demo-1", poisoned=True)


async def test_a_step_that_fails_says_which_why_and_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(StepFailed) as failed:
        await started(tmp_path).run("training", Work(fails=1))

    assert failed.value.message == (f"step training failed: the trainer does not answer\nTo continue: {CONTINUE}")


async def test_a_step_s_failure_inside_a_group_of_tasks_is_reported_as_well(tmp_path: Path) -> None:
    async def work() -> None:
        message = "busy"
        raise ExceptionGroup(message, [DependencyUnavailable("rag is away", dependency="rag")])

    with pytest.raises(StepFailed, match="rag is away"):
        await started(tmp_path).run("retrieval", work)


@pytest.mark.parametrize("error", [ValueError("not JSON"), asyncio.CancelledError()], ids=repr)
async def test_a_step_that_breaks_or_is_stopped_says_how_to_go_on_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(type(error)):
        await started(tmp_path).run("retrieval", work)

    assert capsys.readouterr().err == f"Interrupted in step retrieval. To continue: {CONTINUE}\n"


async def test_a_continued_demo_is_the_same_project_and_does_only_what_is_left(tmp_path: Path) -> None:
    documents, training = Work(), Work(fails=1)
    first = started(tmp_path)
    await first.run("documents", documents)
    first.facts["ids"] = {"a": "1"}
    first.report.add("documents", accepted=999)
    with pytest.raises(StepFailed):
        await first.run("training", training)

    second = Steps.unfinished(first.file)
    await second.run("documents", documents)
    result = await second.run("training", training)

    assert (second.project, second.poisoned, second.is_continued) == ("demo-1", True, True)
    assert (documents.calls, training.calls, result) == (1, 2, "a model")
    assert second.facts == {"ids": {"a": "1"}}
    assert second.report.data()["documents"] == {"accepted": 999}
    assert second.seconds.keys() == {"documents", "training"}


async def test_a_step_that_only_reads_is_done_again_when_it_is_continued(tmp_path: Path) -> None:
    training, steps = Work(), started(tmp_path)
    await steps.run("training", training, again=True)

    assert await Steps.unfinished(steps.file).run("training", training, again=True) == "a model"
    assert training.calls == 2


async def test_a_demo_that_came_to_its_end_cannot_be_continued(tmp_path: Path) -> None:
    steps = started(tmp_path)
    await steps.run("documents", Work())
    steps.finish()

    with pytest.raises(NotFound, match="make demo"):
        Steps.unfinished(steps.file)
