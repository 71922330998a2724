"""Several questions of one request: answered side by side, and said as one answer.

Each is an inference of its own. The reply has the id of the first, the choices of all in the order of their prompts
(prompt times `n`, and the candidate), and what they took as one sum. `tidemill` names prompt and inference:

    {"prompts": [{"prompt": 0, "inference": "...", and what `tidemill` of a single answer has}]}

and in the chunks of a stream, which come as the answers do, `prompt` and `inference` beside what one has.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_inference.generation.domain.errors import AnswerNotRecorded
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.ports import Finished, Started, Step
from tidemill_inference.openai_api.forms import Saying

Json = dict[str, Any]
_T = TypeVar("_T")
_MESSAGE = "messages"


def side_by_side(
    streams: Sequence[AsyncGenerator[_T, None]], *, max_concurrent: int
) -> AsyncGenerator[tuple[int, _T], None]:
    """Yield what the streams yield, as it comes, with the number of the stream; so many run at once, in their order.

    The first error ends it. All streams are closed when it ends, also when it is closed.
    """
    return _alone(streams[0]) if len(streams) == 1 else _merged(streams, max_concurrent)


async def _alone(stream: AsyncGenerator[_T, None]) -> AsyncGenerator[tuple[int, _T], None]:
    async with aclosing(stream):
        async for said in stream:
            yield 0, said


async def _merged(
    streams: Sequence[AsyncGenerator[_T, None]], max_concurrent: int
) -> AsyncGenerator[tuple[int, _T], None]:
    ready: asyncio.Queue[tuple[int, _T] | asyncio.Task[None]] = asyncio.Queue()
    places, capacity = asyncio.Semaphore(max_concurrent), asyncio.Semaphore(max_concurrent)

    async def forward(number: int, stream: AsyncGenerator[_T, None]) -> None:
        async with places, aclosing(stream):
            async for said in stream:
                await capacity.acquire()  # until what was read before is taken
                ready.put_nowait((number, said))

    forwarding = [asyncio.create_task(forward(*each)) for each in enumerate(streams)]
    for task in forwarding:
        task.add_done_callback(ready.put_nowait)
    running = len(forwarding)
    try:
        while running:
            each = await ready.get()
            if isinstance(each, asyncio.Task):
                each.result()
                running -= 1
            else:
                capacity.release()
                yield each
    finally:
        for task in forwarding:
            task.cancel()
        await asyncio.wait(forwarding)
        for task in forwarding:
            if not task.cancelled():
                task.exception()  # that of the first is raised


async def of_prompt(number: int, steps: AsyncGenerator[Step, None]) -> AsyncGenerator[Step, None]:
    """Yield the steps of one of several prompts, whose errors say which it is.

    Raises:
        AnswerNotRecorded: it was answered before, by the same key, and its text is gone: "" would be taken for it.

    """
    try:
        async with aclosing(steps):
            async for step in steps:
                if isinstance(step, Finished) and not step.inference.output:
                    what = f"prompt {number} was answered before by this Idempotency-Key, and its text was not recorded"
                    raise AnswerNotRecorded(what, remedy="send the request with another key")
                yield step
    except InvalidInput as error:
        raise at_prompt(error, number) from error


def at_prompt(error: InvalidInput, number: int) -> InvalidInput:
    """Return the refusal of one of several prompts, at its place among them."""
    return error.renamed(lambda field: f"prompt[{number}]" if field.startswith(_MESSAGE) else field)


class Together:
    """Says the answers to all questions of a request; of a single one, as its own saying does."""

    def __init__(self, sayings: Sequence[Saying], *, inference: str, candidates: int) -> None:
        """Say them as an answer of the id `inference`, each of so many `candidates`."""
        self._sayings = sayings
        self._inference = inference
        self._candidates = candidates
        self._created = 0
        self._names = [""] * len(sayings)
        self._usages: list[Json | None] = []

    @property
    def is_one(self) -> bool:
        """Whether there is a single question."""
        return len(self._sayings) == 1

    def whole(self, answers: Sequence[Inference]) -> Json | None:
        """Return the reply."""
        said = [saying.whole(each) for saying, each in zip(self._sayings, answers, strict=True)]
        if self.is_one:
            return said[0]
        replies = [each for each in said if each is not None]
        return {
            **replies[0],
            "choices": [each for number, reply in enumerate(replies) for each in self._choices(number, reply)],
            "usage": _sum([reply["usage"] for reply in replies]),
            "tidemill": {
                "prompts": [
                    {"prompt": number, "inference": answer.id, **reply["tidemill"]}
                    for number, (answer, reply) in enumerate(zip(answers, replies, strict=True))
                ]
            },
        }

    def of(self, number: int, step: Step) -> Iterator[Json | None]:
        """Yield the events of a step of the answer to one of the questions."""
        saying = self._sayings[number]
        events = saying.begun(step.inference) if isinstance(step, Started) else saying.more(step)
        if self.is_one:
            yield from events
            return
        if isinstance(step, Started):
            self._names[number] = step.inference.id
        for event in events:
            if event is not None:
                yield from self._placed(number, event)

    def failed(self, error: TidemillError) -> Iterator[Json]:
        """Yield the last events of answers that did not come to their end."""
        yield from self._sayings[0].failed(error)

    def _placed(self, number: int, event: Json) -> Iterator[Json]:
        self._created = self._created or event["created"]
        head = {**event, "id": self._inference, "created": self._created}
        if not event["choices"]:
            self._usages.append(event["usage"])
            if len(self._usages) == len(self._sayings):
                yield {**head, "usage": _sum(self._usages)}
            return
        placed = {**head, "choices": self._choices(number, event)}
        if "tidemill" in event:
            placed["tidemill"] = {"prompt": number, "inference": self._names[number], **event["tidemill"]}
        yield placed

    def _choices(self, number: int, said: Json) -> list[Json]:
        return [{**each, "index": number * self._candidates + each["index"]} for each in said["choices"]]


def _sum(usages: Sequence[Json | None]) -> Json | None:
    """Return the usage of all; None where one is not known any more."""
    known = [each for each in usages if each is not None]
    if len(known) < len(usages):
        return None
    return {
        name: _sum([each[name] for each in known]) if isinstance(value, dict) else sum(each[name] for each in known)
        for name, value in known[0].items()
    }
