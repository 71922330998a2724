"""Tools, output formats and candidates by gRPC, on a real server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.inference.tests.contract.test_inference_api import Api, Real, asked, clients
from services.inference.tests.fakes import ScriptedEngine
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_service_pb2 as rpc
from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill_core.errors import InvalidInput
from tidemill_inference.engines.ports import Finish, Generated, Piece, ToolCallPiece
from tidemill_inference.generation.domain.content import TokenLogprob, TopLogprob
from tidemill_inference.generation.domain.tools import ToolMode

CALLS: tuple[Generated, ...] = (
    ToolCallPiece(index=0, id="c1", name="weather", arguments='{"at":'),
    ToolCallPiece(index=0, arguments=' "sea"}'),
    Finish(reason="tool_calls", input_tokens=9, output_tokens=4),
)
WEATHER = rpc.Tool(name="weather", parameters_json='{"type": "object"}')


@pytest.fixture
def real() -> Real:
    return Real()


@pytest.fixture
def engine(real: Real) -> ScriptedEngine:
    return real.rolling.harness.engine


@pytest.fixture
async def api(real: Real) -> AsyncIterator[Api]:
    server = real.server()
    await server.start()
    async with clients(server.port) as api:
        yield api
    await server.stop(1.0)


def part(text: str) -> content_pb2.Part:
    return content_pb2.Part(text=text)


async def test_a_call_is_answered_and_its_result_goes_on_from_it(api: Api, engine: ScriptedEngine) -> None:
    engine.yields = CALLS
    first = asked(tools=[WEATHER], tool_choice=rpc.ToolChoice(mode=rpc.TOOL_MODE_REQUIRED, single_call=True))
    called = (await api.inferences.Generate(first)).inference
    record = await api.record(called.id)
    engine.yields = (Piece(text="calm"), Finish(reason="stop", input_tokens=12, output_tokens=1))
    result = content_pb2.ToolResult(id="c1", parts=[part("calm"), content_pb2.Part(json="{}")], failed=True)
    turns = [
        *first.messages,
        *called.output,
        content_pb2.Message(role=content_pb2.ROLE_TOOL, parts=[content_pb2.Part(tool_result=result)]),
    ]
    said = (await api.inferences.Generate(rpc.GenerateRequest(deployment="helpdesk", messages=turns))).inference

    assert called.finish_reason == "tool_calls"
    assert record.output == called.output
    assert called.output[0].parts[0].tool_call == content_pb2.ToolCall(
        id="c1", name="weather", arguments_json='{"at": "sea"}'
    )
    assert said.output[0].parts[0].text == "calm"
    (tool,), choice = engine.seen[0].tools, engine.seen[0].tool_choice
    assert (tool.name, choice.mode, choice.single_call) == ("weather", ToolMode.REQUIRED, True)
    (returned,) = engine.seen[1].messages[-1].tool_results
    assert (returned.id, returned.text, returned.failed) == ("c1", "calm\n{}", True)


async def test_a_stream_has_calls_candidates_thoughts_and_log_probabilities(api: Api, engine: ScriptedEngine) -> None:
    likely = TokenLogprob(text="calm", logprob=-0.5, utf8=b"calm", top=(TopLogprob(text="wild", logprob=-2.0),))
    engine.yields = (
        Piece(reasoning="hm"),
        Piece(text="calm", candidate=1, logprobs=(likely,)),
        Finish(reason="stop", candidate=1, input_tokens=9, output_tokens=1),
        *CALLS,
    )
    request = asked(tools=[WEATHER], candidate_count=2, sampling=Sampling(logprobs=True, top_logprobs=1))
    stream = api.inferences.GenerateStream(rpc.GenerateStreamRequest(request=request))
    _, thought, other, begun, more, finished = [event async for event in stream]

    assert thought.delta.reasoning == "hm"
    assert (other.delta.candidate, other.delta.text, other.delta.logprobs[0].top[0].text) == (1, "calm", "wild")
    assert (begun.delta.tool_call.id, begun.delta.tool_call.name) == ("c1", "weather")
    assert begun.delta.tool_call.arguments_json + more.delta.tool_call.arguments_json == '{"at": "sea"}'
    inference = finished.finished
    assert [each.WhichOneof("content") for each in inference.output[0].parts] == ["reasoning", "tool_call"]
    (alternative,) = inference.alternatives
    assert (alternative.output[0].parts[0].text, alternative.logprobs[0].logprob) == ("calm", -0.5)
    assert inference.usage.output_tokens == 5
    assert not (await api.record(inference.id)).alternatives[0].logprobs


async def test_of_more_answers_than_are_given_the_likeliest_are(api: Api, engine: ScriptedEngine) -> None:
    def said(candidate: int, text: str, logprob: float) -> Piece:
        return Piece(text=text, candidate=candidate, logprobs=(TokenLogprob(text=text, logprob=logprob),))

    engine.yields = (
        said(0, "wild", -2.0),
        said(1, "calm", -0.5),
        *(Finish(reason="stop", candidate=each, input_tokens=9, output_tokens=1) for each in range(3)),
    )
    best = await api.ask(best_of=3)
    with pytest.raises(InvalidInput, match=r"best_of: is not for streams"):
        [event async for event in api.inferences.GenerateStream(rpc.GenerateStreamRequest(request=asked(best_of=3)))]

    assert (best.output[0].parts[0].text, list(best.alternatives), list(best.logprobs)) == ("calm", [], [])
    assert best.usage.output_tokens == 3
    assert (engine.seen[-1].candidates, engine.seen[-1].sampling.logprobs) == (3, True)


async def test_texts_that_best_of_cannot_rank_are_given_with_a_warning(api: Api, engine: ScriptedEngine) -> None:
    def finished(*reasons: str) -> list[Finish]:
        said = enumerate(reasons)
        return [Finish(reason=each, candidate=number, input_tokens=9, output_tokens=1) for number, each in said]

    engine.yields = (Piece(text="wild"), Piece(text="calm", candidate=1), *finished("stop", "stop"))
    unranked = await api.ask(best_of=2)
    likely = (TokenLogprob(text=" ", logprob=-0.1),)
    engine.yields = (
        Piece(text="wild", logprobs=(TokenLogprob(text="wild", logprob=-2.0),)),
        Piece(text=" ", candidate=1, logprobs=likely),
        *finished("stop", "length"),
    )
    empty = await api.ask(best_of=2)

    assert [each for each in unranked.warnings if "best_of" in each] == [
        "model smollm2@1 gave texts without log probabilities: best_of cannot rank those"
    ]
    assert list(empty.warnings) == ["model smollm2@1 said nothing (finish reason length)"]


async def test_an_answer_in_an_output_format_is_json_where_it_is_whole(api: Api, engine: ScriptedEngine) -> None:
    schema = rpc.OutputFormat(schema_json='{"type": "object"}', name="w")
    engine.says = '{"a": 1}'
    whole = await api.ask(output_format=schema)
    engine.says = '{"a": '
    cut = await api.ask(output_format=schema)

    assert whole.output[0].parts[0].json == '{"a": 1}'
    assert cut.output[0].parts[0].text == '{"a": '
    assert not whole.output[0].parts[0].citations


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"candidate_count": 17}, "candidate_count: is 17"),
        ({"best_of": 17}, "best_of: is 17; use 1 to 16"),
        ({"best_of": 2, "candidate_count": 3}, "best_of: is 2, fewer than the 3 answers that are asked for"),
        ({"best_of": -1}, "best_of: is -1"),
        ({"best_of": 2, "tools": [WEATHER]}, "best_of: is 2, and calls of tools cannot be compared"),
        ({"tools": [rpc.Tool(name="f", parameters_json="{")]}, r"tools\[0\].parameters_json: is not JSON"),
        ({"output_format": rpc.OutputFormat(schema_json="[]")}, "schema_json: is not a JSON object"),
        ({"output_format": rpc.OutputFormat(schema_json='{"type": 5}')}, r"schema_json: is no JSON Schema at \$.type"),
        ({"tool_choice": rpc.ToolChoice(names=["f"])}, "tool_choice: names 'f'"),
        ({"sampling": Sampling(logit_bias={5: 101})}, r"sampling.logit_bias\[5\]"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_field(api: Api, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        await api.ask(**fields)


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (
            content_pb2.Message(role=content_pb2.ROLE_TOOL, parts=[part("x")]),
            r"parts\[0\]: is a text in a message of role tool",
        ),
        (
            content_pb2.Message(
                role=content_pb2.ROLE_TOOL, parts=[content_pb2.Part(tool_result=content_pb2.ToolResult(id="c9"))]
            ),
            "tool call 'c9', which no message",
        ),
        (content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[part("x")]), "is assistant; the last message"),
        (
            content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(reasoning="hm")]),
            "is a reasoning in a message of role user",
        ),
    ],
)
async def test_messages_that_cannot_be_answered_are_refused_by_their_place(
    api: Api, last: content_pb2.Message, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        await api.inferences.Generate(
            rpc.GenerateRequest(deployment="helpdesk", messages=[*asked().messages, last], tools=[WEATHER])
        )
