"""Answers as messages and as they are stored since their first version: never with the text of a passage."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import caching_pb2, inference_pb2, routing_pb2
from tidemill_inference.caching.domain.use import CacheKind, CacheUse
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import (
    AnchorKind,
    Candidate,
    Citation,
    Message,
    Part,
    Passage,
    Place,
    Role,
    TokenLogprob,
    ToolCall,
    ToolResult,
    TopLogprob,
)
from tidemill_inference.generation.domain.history import HistoryUse
from tidemill_inference.generation.domain.inference import Inference, Lease, State, Usage, Variant
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.generation.messages import inference_message
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_inference.routing.domain.attempt import Attempt, AttemptKind
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.clocks import NOON
from tidemill_testkit.mapping import unsent

IDENTITY = Identity(
    id="i1", project="acme", labels={}, version=1, seq=0, create_time=NOON, update_time=NOON, deleted=False
)
PASSAGE: dict[str, Any] = {
    "id": "1",
    "document": "d",
    "version": 2,
    "start": 10,
    "end": 20,
    "score": 0.5,
    "source": "wiki",
    "key": "faq",
    "title": "FAQ",
    "uri": "",
    "text": "",
    "header_start": 0,
    "header_end": 0,
    "also_in": ["wiki/other"],
    "collection": "globex/wiki",
    "places": [{"kind": "page", "first": 7, "last": 8, "name": ""}],
}
STORED: dict[str, Any] = {
    "request_id": "r1",
    "request_digest": "digest",
    "deployment": "helpdesk",
    "end_user": "u1",
    "finish_reason": "stop",
    "failure": "",
    "citation_valid": 1.0,
    "finish_time": NOON,
    "purpose": "LIVE",
    "record": "FULL",
    "state": "COMPLETED",
    "lease": {"owner": "one", "epoch": 3, "until": NOON},
    "variant": {
        "name": "live",
        "configuration": "c",
        "model": "small@1",
        "prompt": "p@1",
        "index": 4,
        "engine": "local",
        "rollout": "",
        "experiment": "",
    },
    "usage": {"input_tokens": 3, "output_tokens": 4, "first_token_s": 0.25, "total_s": 1.5, "search_s": 0.0},
    "messages": [{"role": "user", "name": "", "parts": [{"text": "How?", "citations": []}]}],
    "variables": '{"a.b": 1}',
    "principals": ["group:support"],
    "output": [
        {
            "role": "assistant",
            "name": "",
            "parts": [{"text": "So.", "citations": [{"start": 0, "end": 3, "passage": "1"}]}],
        }
    ],
    "passages": [PASSAGE],
    "warnings": ["slow"],
    "conversation": "c1",
    "history": {"turns": ["i0"], "summary": 3, "memories": ["m-1@0"]},
    "attempts": [
        {
            "model": "small@1",
            "kind": "first",
            "outcome": "ANSWERED",
            "endpoint": "local",
            "start_s": 0.1,
            "duration_s": 1.4,
            "input_tokens": 3,
            "output_tokens": 4,
            "estimated": False,
        }
    ],
}


def an_inference(*, text: str = "") -> Inference:
    cited = Part(text="So.", citations=(Citation(start=0, end=3, passage="1"),))
    places = (Place(kind=AnchorKind.PAGE, first=7, last=8),)
    passage = {**PASSAGE, "text": text, "also_in": ("wiki/other",), "places": places}
    return Inference(
        **IDENTITY.fields(),
        request_id="r1",
        request_digest="digest",
        deployment="helpdesk",
        purpose=Purpose.LIVE,
        record=RecordMode.FULL,
        end_user="u1",
        state=State.COMPLETED,
        lease=Lease(owner="one", epoch=3, until=NOON),
        variant=Variant(**STORED["variant"]),
        messages=(Message.of(Role.USER, "How?"),),
        variables={"a.b": 1},
        principals=("group:support",),
        output=(Message(role=Role.ASSISTANT, parts=(cited,)),),
        passages=(Passage(**passage),),
        usage=Usage(**STORED["usage"]),
        finish_reason="stop",
        warnings=("slow",),
        attempts=(Attempt(**STORED["attempts"][0] | {"kind": AttemptKind.FIRST}),),
        citation_valid=1.0,
        finish_time=NOON,
        conversation="c1",
        history=HistoryUse(turns=("i0",), summary=3, memories=("m-1@0",)),
    )


def test_an_answer_is_stored_as_it_always_was_and_without_the_text_of_its_passages() -> None:
    assert INFERENCES.encode(an_inference(text="what the passage says")) == STORED
    assert INFERENCES.decode(IDENTITY, STORED, 1) == an_inference()


def test_an_answer_from_before_passages_named_other_documents_is_read() -> None:
    older = {name: value for name, value in PASSAGE.items() if name not in {"also_in", "collection", "places"}}
    later = {"principals", "attempts"}
    state = {name: value for name, value in STORED.items() if name not in later} | {"passages": [older]}
    read = INFERENCES.decode(IDENTITY, state, 1)
    assert (read.passages[0].also_in, read.passages[0].collection, read.principals) == ((), "", ())
    assert read.passages[0].place == ""


def test_an_answer_from_before_conversations_is_read() -> None:
    state = {name: value for name, value in STORED.items() if name not in {"conversation", "history"}}
    read = INFERENCES.decode(IDENTITY, state, 1)
    assert (read.conversation, read.history) == ("", None)


def test_calls_results_thoughts_and_other_candidates_are_stored_and_read_and_log_probabilities_are_not() -> None:
    call = Part(tool_call=ToolCall(id="c1", name="look", arguments_json="{}"))
    result = Part(tool_result=ToolResult(id="c1", text="found", failed=True))
    said = (Message(role=Role.ASSISTANT, parts=(Part(reasoning="hm"), Part(json="{}"), call)),)
    logprobs = (TokenLogprob(text="a", logprob=-1.0, top=(TopLogprob(text="b", logprob=-2.0),)),)
    other = Candidate(output=said, finish_reason="length", logprobs=logprobs)
    answered = replace(
        an_inference(),
        messages=(Message.of(Role.USER, "How?"), Message(role=Role.TOOL, parts=(result,))),
        output=said,
        alternatives=(other,),
        logprobs=logprobs,
    )
    kept = replace(answered, alternatives=(replace(other, logprobs=()),), logprobs=())
    assert INFERENCES.decode(IDENTITY, INFERENCES.encode(answered), 1) == kept


def test_whose_answer_was_given_again_is_stored_read_and_sent() -> None:
    use = CacheUse(kind=CacheKind.EXACT, inference="i0", saved_input_tokens=3, saved_output_tokens=4, saved_time_s=1.5)
    again = replace(an_inference(), cache=use)

    assert INFERENCES.encode(again)["cache"] == {
        "kind": "exact",
        "inference": "i0",
        "saved_input_tokens": 3,
        "saved_output_tokens": 4,
        "saved_time_s": 1.5,
    }
    assert INFERENCES.decode(IDENTITY, INFERENCES.encode(again), 1) == again
    assert "cache" not in INFERENCES.encode(an_inference())
    assert inference_message(again).cache == caching_pb2.CacheUse(
        kind=caching_pb2.CACHE_KIND_EXACT,
        inference="i0",
        saved_input_tokens=3,
        saved_output_tokens=4,
        saved_time=Duration(seconds=1, nanos=500_000_000),
    )
    assert unsent(caching_pb2.CacheUse, CacheUse) == {"saved_nanos"}  # is `saved_cost`


def test_an_answer_is_sent_by_name() -> None:
    message = inference_message(an_inference(text="what the passage says"))
    assert message.state == inference_pb2.INFERENCE_STATE_COMPLETED
    assert message.attempts[0].kind == routing_pb2.ATTEMPT_KIND_FIRST
    assert message.attempts[0].start.ToTimedelta() == timedelta(seconds=0.1)
    assert message.usage.total.ToTimedelta() == timedelta(seconds=1.5)
    assert message.output[0].role == content_pb2.ROLE_ASSISTANT
    assert message.output[0].parts[0].citations[0].passage == "1"
    assert message.passages[0].text == "what the passage says"


def test_what_of_an_answer_is_not_sent_is_this() -> None:
    inner = {"budget_hold", "history", "lease", "parameters", "record", "request_id", "request_digest"}
    shown_by_its_own_rpc = {"principals", "variables"}
    assert unsent(inference_pb2.Inference, Inference) == inner | shown_by_its_own_rpc | {"update_time"}
    assert unsent(inference_pb2.Variant, Variant) == set()
    assert unsent(inference_pb2.Usage, Usage) == set()
    assert unsent(content_pb2.Passage, Passage) == set()
    assert unsent(content_pb2.Message, Message) == set()
