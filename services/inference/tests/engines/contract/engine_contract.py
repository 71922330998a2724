"""What every engine does alike, in whatever process its model runs.

To mount it on an engine, subclass `EngineContract` in a test module and give it a fixture `served`: the engine, the
bare model with the same files in float32, and how many of its answers are being made at the moment. What an engine does
not claim in `capabilities` is skipped. For `adapted` (optional) give an engine with an adapter, and its bare model.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from jsonschema import validate

from services.inference.tests.engines.contract.bare_model import BareModel
from tidemill_core.errors import DependencyTimedOut, InvalidInput
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import Capability, Engine, Finish, Piece, Prompt, ToolCallPiece
from tidemill_inference.generation.domain.content import Message, Part, Role, TokenLogprob, ToolCall, ToolResult
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice, ToolMode
from tidemill_testkit.polling import DEADLINE_S, eventually

CONTEXT = 1024
"""What the tests' models have, in tokens of a byte."""
HELLO = (Message.of(Role.USER, "Hello"),)
ORDER = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}, "count": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["size", "count"],
    "additionalProperties": False,
}
PIZZA = Tool(name="pizza", description="Orders pizza.", parameters_json=json.dumps(ORDER))
CLOCK = Tool(name="clock", description="Says what time it is.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An engine under test."""

    engine: Engine
    bare: BareModel
    running: Callable[[], int]
    """How many answers it makes at the moment."""
    tolerance: float = 1e-3
    """How far log probabilities may be off."""

    def needs(self, *capabilities: Capability) -> None:
        """Skip where the engine cannot."""
        if missing := [each for each in capabilities if each not in self.engine.capabilities]:
            pytest.skip(f"the engine does not claim {missing[0].name}")


@dataclass(slots=True)
class Answer:
    """What came of one candidate."""

    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    calls: list[ToolCallPiece] = field(default_factory=list)
    finish: Finish | None = None

    def called(self, piece: ToolCallPiece) -> None:
        """Take a call, or more of it."""
        if piece.index == len(self.calls):
            assert piece.id
            assert piece.name
            self.calls.append(piece)
        else:
            whole = self.calls[piece.index]
            self.calls[piece.index] = replace(whole, arguments=whole.arguments + piece.arguments)

    @property
    def reason(self) -> str:
        assert self.finish is not None
        return self.finish.reason


def asking(messages: Sequence[Message] = HELLO, *, tokens: int = 24, **asked: object) -> Prompt:
    """Return a prompt for a greedy answer; what is asked is of the prompt, or of its sampling."""
    names = {"tools", "tool_choice", "output", "candidates"}
    sampling = {name: value for name, value in asked.items() if name not in names}
    chosen = Sampling(**{"temperature": 0.0, "max_output_tokens": tokens, **sampling})  # type: ignore[arg-type]
    others = {name: value for name, value in asked.items() if name in names}
    return Prompt(messages=tuple(messages), sampling=chosen, **others)  # type: ignore[arg-type]


async def answers(
    engine: Engine, prompt: Prompt, *, timeout_s: float = 300, begun: asyncio.Event | None = None
) -> list[Answer]:
    """Return all candidates; `begun` is set by the first of what they say."""
    found = [Answer() for _ in range(prompt.candidates)]
    async with aclosing(engine.generate(prompt, timeout_s=timeout_s)) as pieces:
        async for piece in pieces:
            if begun:
                begun.set()
            one = found[piece.candidate]
            assert one.finish is None, "nothing follows the end"
            match piece:
                case Finish():
                    one.finish = piece
                case ToolCallPiece():
                    one.called(piece)
                case Piece():
                    one.text += piece.text
                    one.logprobs += piece.logprobs
    assert all(each.finish for each in found)
    return found


async def answer(engine: Engine, prompt: Prompt, *, begun: asyncio.Event | None = None) -> Answer:
    """Return the one candidate."""
    (found,) = await answers(engine, prompt, begun=begun)
    return found


@asynccontextmanager
async def company(engine: Engine, *, count: int, tokens: int) -> AsyncIterator[Sequence[asyncio.Task[Answer]]]:
    """Have answers made that have all begun; those that are being made in the end are left.

    How fast an engine is beside its client is not known: a test that needs them to be running looks whether one is
    done, and tries again.
    """
    begun = [asyncio.Event() for _ in range(count)]
    tasks = [asyncio.create_task(answer(engine, asking(tokens=tokens), begun=each)) for each in begun]
    try:
        async with asyncio.timeout(DEADLINE_S):
            for each in begun:
                await each.wait()
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class EngineContract:
    """Behaviours of an engine."""

    async def test_a_greedy_answer_is_that_of_the_bare_model(self, served: Served) -> None:
        found = await answer(served.engine, asking(tokens=40))

        assert found.text == served.bare.text(served.bare.greedy(HELLO, 40))
        assert found.finish is not None
        assert (found.finish.reason, found.finish.output_tokens) == ("length", 40)
        assert found.finish.input_tokens == len(served.bare.prompt(HELLO))

    async def test_answers_at_once_are_those_that_come_alone(self, served: Served) -> None:
        asked = [asking([Message.of(Role.USER, "abc " * size)]) for size in (1, 7, 20, 3)]
        alone = [await answer(served.engine, each) for each in asked]

        together = await asyncio.gather(*(answer(served.engine, each) for each in asked))

        assert [each.text for each in together] == [each.text for each in alone]

    async def test_a_conversation_is_read_with_its_turns(self, served: Served) -> None:
        turns = [
            Message.of(Role.SYSTEM, "Be brief."),
            Message.of(Role.USER, "a?"),
            Message.of(Role.ASSISTANT, "b."),
            Message.of(Role.USER, "c?"),
        ]

        found = await answer(served.engine, asking(turns))

        assert found.text == served.bare.text(served.bare.greedy(turns, 24))

    async def test_a_late_request_does_not_wait_for_the_running_ones(self, served: Served) -> None:
        async def overtakes() -> bool:
            async with company(served.engine, count=4, tokens=500) as running:
                assert (await answer(served.engine, asking(tokens=2))).text
                return not any(each.done() for each in running)

        await eventually(overtakes)
        await eventually(lambda: served.running() == 0)

    async def test_an_answer_ends_before_a_stop_text(self, served: Served) -> None:
        text = (await answer(served.engine, asking(tokens=40))).text
        stop = text[1:4]

        found = await answer(served.engine, asking(tokens=40, stop=(stop,)))

        assert (found.text, found.reason) == (text[: text.find(stop)], "stop")
        await eventually(lambda: served.running() == 0)

    async def test_a_seed_draws_the_same_alone_and_in_company(self, served: Served) -> None:
        def drawn(seed: int) -> Prompt:
            return asking(temperature=1.0, top_p=0.9, seed=seed)

        alone = await answer(served.engine, drawn(1))
        again, other = await asyncio.gather(answer(served.engine, drawn(1)), answer(served.engine, drawn(2)))

        assert again.text == alone.text
        assert other.text != alone.text

    async def test_a_seed_draws_the_same_after_a_prompt_that_is_computed_in_pieces(self, served: Served) -> None:
        def drawn(seed: int) -> Prompt:
            return asking([Message.of(Role.USER, "abc " * 175)], temperature=1.0, top_p=0.9, seed=seed)

        async def drawn_among_others() -> bool:
            async with company(served.engine, count=3, tokens=300) as running:
                first, other = await asyncio.gather(answer(served.engine, drawn(1)), answer(served.engine, drawn(2)))
                among = not any(each.done() for each in running)
                others = await asyncio.gather(*running)
            again = await answer(served.engine, drawn(1))  # whose prompt an engine may have kept, in one piece
            assert again.text == first.text
            assert other.text != first.text
            assert len({each.text for each in others}) == 1
            return among

        await eventually(drawn_among_others)

    async def test_leaving_takes_an_answer_out_of_the_batch(self, served: Served) -> None:
        async def leaves_while_it_runs() -> bool:
            pieces = served.engine.generate(asking(tokens=500), timeout_s=300)
            await anext(pieces)
            ran = served.running() == 1
            await pieces.aclose()
            await eventually(lambda: served.running() == 0)
            return ran

        await eventually(leaves_while_it_runs)

    async def test_a_deadline_takes_an_answer_out_of_the_batch(self, served: Served) -> None:
        with pytest.raises((TimeoutError, DependencyTimedOut)):
            await answers(served.engine, asking(tokens=900), timeout_s=0.3)

        await eventually(lambda: served.running() == 0)

    async def test_a_prompt_beyond_the_context_is_refused(self, served: Served) -> None:
        limit = served.engine.context_tokens or CONTEXT
        with pytest.raises(InvalidInput, match=r"token|context"):
            await answer(served.engine, asking([Message.of(Role.USER, "x" * (limit + 1))]))

        assert (await answer(served.engine, asking(tokens=2))).text

    async def test_log_probabilities_are_those_of_the_bare_model(self, served: Served) -> None:
        served.needs(Capability.LOGPROBS)
        said = served.bare.greedy(HELLO, 24)
        expected = served.bare.logprobs(HELLO, said)

        # What changes the choice of tokens does not change what the model thinks of them.
        found = await answer(served.engine, asking(logprobs=True, top_logprobs=3, temperature=1.0, top_p=1e-6, seed=1))

        _agree(served, found, said, expected)
        assert [len(each.top) for each in found.logprobs] == [3] * 24
        for each, row in zip(found.logprobs, expected, strict=True):
            assert [top.logprob for top in each.top] == pytest.approx(row.topk(3).values.tolist(), abs=served.tolerance)
        assert b"".join(each.utf8 for each in found.logprobs).decode(errors="ignore") == "".join(
            each for each in found.text if each != "\ufffd"
        )

    async def test_log_probabilities_end_where_a_stop_text_begins(self, served: Served) -> None:
        served.needs(Capability.LOGPROBS)
        text = (await answer(served.engine, asking(tokens=40))).text
        stop = text[1:4]

        found = await answer(served.engine, asking(tokens=40, stop=(stop,), logprobs=True))

        kept = b"".join(each.utf8 for each in found.logprobs).decode(errors="replace")
        assert len(kept) >= len(found.text)
        assert stop not in kept

    async def test_candidates_are_answers_of_their_own(self, served: Served) -> None:
        served.needs(Capability.CANDIDATES)
        drawn = asking(temperature=1.0, seed=1, candidates=3)

        found = await answers(served.engine, drawn)
        again = await answers(served.engine, drawn)

        assert len({each.text for each in found}) == 3
        assert [each.text for each in again] == [each.text for each in found]
        assert found[0].text == (await answer(served.engine, asking(temperature=1.0, seed=1))).text

    async def test_leaving_takes_all_candidates_out_of_the_batch(self, served: Served) -> None:
        served.needs(Capability.CANDIDATES)
        pieces = served.engine.generate(asking(tokens=400, candidates=3), timeout_s=300)
        await anext(pieces)
        while (await anext(pieces)).candidate != 2:
            pass

        await pieces.aclose()

        await eventually(lambda: served.running() == 0)

    @pytest.mark.parametrize(("presence", "frequency"), [(1.5, 0.0), (0.0, 0.7), (-1.0, 0.5)])
    async def test_penalties_are_taken_from_what_was_said(
        self, served: Served, presence: float, frequency: float
    ) -> None:
        served.needs(Capability.PENALTIES)

        found = await answer(served.engine, asking(presence_penalty=presence, frequency_penalty=frequency))

        expected = served.bare.greedy(HELLO, 24, presence=presence, frequency=frequency)
        assert found.text == served.bare.text(expected)

    async def test_a_bias_is_added_to_its_token(self, served: Served) -> None:
        served.needs(Capability.LOGIT_BIAS)
        first = served.bare.greedy(HELLO, 1)[0]
        bias = {first: -100.0, 65: 2.0}

        found = await answer(served.engine, asking(logit_bias=bias))

        assert found.text == served.bare.text(served.bare.greedy(HELLO, 24, bias=bias))

    async def test_an_answer_in_json_follows_its_schema(self, served: Served) -> None:
        served.needs(Capability.JSON_SCHEMA)
        output = OutputFormat(name="order", schema_json=json.dumps(ORDER))
        asked = [asking(tokens=100, output=output, temperature=1.0, seed=seed) for seed in range(3)]

        found = await asyncio.gather(*(answer(served.engine, each) for each in asked), answer(served.engine, asking()))

        for each in found[:-1]:
            validate(json.loads(each.text), ORDER)
            assert each.reason == "stop"
        assert found[-1].text == served.bare.text(served.bare.greedy(HELLO, 24))
        await eventually(lambda: served.running() == 0)

    async def test_a_schema_that_cannot_be_followed_is_refused_by_name(self, served: Served) -> None:
        served.needs(Capability.JSON_SCHEMA)
        output = OutputFormat(name="order", schema_json=json.dumps({"type": "string", "not": {"const": "x"}}))

        with pytest.raises(InvalidInput, match="not"):
            await answer(served.engine, asking(output=output))

    async def test_a_required_tool_is_called_with_its_arguments(self, served: Served) -> None:
        served.needs(Capability.TOOLS)
        choice = ToolChoice(mode=ToolMode.REQUIRED, names=("pizza",), single_call=True)

        found = await answer(served.engine, asking(tokens=200, tools=(PIZZA, CLOCK), tool_choice=choice))

        (call,) = found.calls
        assert call.name == "pizza"
        validate(json.loads(call.arguments), ORDER)
        assert (found.text, found.reason) == ("", "tool_calls")

    async def test_tools_in_parallel_are_counted(self, served: Served) -> None:
        served.needs(Capability.TOOLS)
        choice = ToolChoice(mode=ToolMode.REQUIRED)

        found = await answer(served.engine, asking(tokens=300, tools=(PIZZA,), tool_choice=choice))

        assert len(found.calls) > 1
        assert len({call.id for call in found.calls}) == len(found.calls)

    async def test_a_model_that_may_call_tools_may_also_not(self, served: Served) -> None:
        served.needs(Capability.TOOLS)
        auto = await answer(served.engine, asking(tools=(CLOCK,)))
        none = await answer(served.engine, asking(tools=(CLOCK,), tool_choice=ToolChoice(mode=ToolMode.NONE)))

        assert not auto.calls
        assert auto.text
        assert none.text == served.bare.text(served.bare.greedy(HELLO, 24))

    async def test_results_of_tools_are_read(self, served: Served) -> None:
        served.needs(Capability.TOOLS)
        turns = [
            *HELLO,
            Message(
                role=Role.ASSISTANT,
                parts=(Part(tool_call=ToolCall(id="call_1", name="pizza", arguments_json='{"size": "small"}')),),
            ),
            Message(role=Role.TOOL, parts=(Part(tool_result=ToolResult(id="call_1", text="baked")),)),
        ]

        found = await answer(served.engine, asking(turns))

        assert found.text == served.bare.text(served.bare.greedy(turns, 24))
        assert found.text != (await answer(served.engine, asking())).text

    async def test_an_adapter_thinks_what_peft_says_that_it_does(self, adapted: Served) -> None:
        said = adapted.bare.greedy(HELLO, 24)
        if Capability.LOGPROBS not in adapted.engine.capabilities:
            assert (await answer(adapted.engine, asking())).text == adapted.bare.text(said)
            return

        found = await answer(adapted.engine, asking(logprobs=True))

        _agree(adapted, found, said, adapted.bare.logprobs(HELLO, said))
        assert found.text != adapted.bare.text(BareModel(adapted.bare.folder).greedy(HELLO, 24))


def _agree(served: Served, found: Answer, said: Sequence[int], expected: object) -> None:
    thought = [float(row[token]) for row, token in zip(expected, said, strict=True)]  # type: ignore[call-overload]
    assert found.text == served.bare.text(said)
    assert [each.logprob for each in found.logprobs] == pytest.approx(thought, abs=served.tolerance)
    assert all(one >= other for each in found.logprobs for one, other in pairwise([top.logprob for top in each.top]))
