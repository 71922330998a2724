"""LangChain's client in a loop with a tool, with a schema, streamed, refused, and by responses.

Its environment is its lock's.
"""

import os

from langchain_core.messages import HumanMessage, ToolMessage  # type: ignore[import-not-found] # in its own environment
from langchain_core.tools import tool  # type: ignore[import-not-found] # ditto
from langchain_openai import ChatOpenAI  # type: ignore[import-not-found] # ditto
from openai import BadRequestError
from pydantic import BaseModel


class Report(BaseModel):
    """The weather of a place."""

    place: str
    degrees: int


@tool  # type: ignore[untyped-decorator] # ditto
def weather(at: str) -> str:
    """Return the weather at a place."""
    return f"calm at {at}"


def main() -> None:
    """Ask, and fail where an answer is not as it should be."""
    url, key = os.environ["CLIENTS_URL"], os.environ["CLIENTS_KEY"]
    model = ChatOpenAI(model="helpdesk", base_url=url, api_key=key, stream_usage=True)
    messages = [HumanMessage("How is the weather at sea?")]
    asking = model.bind_tools([weather])

    called = asking.invoke(messages)
    assert [call["args"] for call in called.tool_calls] == [{"at": "sea"}, {"at": "land"}], called
    results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
    said = asking.invoke([*messages, called, *results])
    assert said.content == "calm at sea and calm at land", said

    streamed, *more = asking.stream(messages)
    for chunk in more:
        streamed += chunk
    assert [call["args"] for call in streamed.tool_calls] == [{"at": "sea"}, {"at": "land"}], streamed
    assert streamed.usage_metadata["output_tokens"] == 3, streamed

    assert model.with_structured_output(Report).invoke(messages) == Report(place="sea", degrees=4)
    try:
        model.bind(n=99).invoke(messages)
    except BadRequestError as refused:
        if "n: is 99" not in str(refused):
            raise
    else:
        message = "n: 99 was not refused"
        raise AssertionError(message)

    responding = ChatOpenAI(model="helpdesk", base_url=url, api_key=key, use_responses_api=True).bind_tools([weather])
    called = responding.invoke(messages)
    assert [call["args"] for call in called.tool_calls] == [{"at": "sea"}, {"at": "land"}], called
    results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
    said = responding.invoke(results, previous_response_id=called.response_metadata["id"])
    assert said.text == "calm at sea and calm at land", said
    streamed, *more = responding.stream([*messages, called, *results])
    for chunk in more:
        streamed += chunk
    assert streamed.text == said.text, streamed


main()
