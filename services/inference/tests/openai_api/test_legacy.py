"""The API before chats, by OpenAI's own client."""

import pytest

from services.inference.tests.openai_api.apis import QUESTION, ScriptedAnswers, open_api
from tidemill_inference.openai_api.legacy import Texts, completion_request_of


async def test_a_prompt_is_answered_as_one_message_is() -> None:
    answers = ScriptedAnswers("Press ", "reset.")
    async with open_api(answers) as api:
        whole = await api.openai.completions.create(model="helpdesk", prompt=QUESTION, max_tokens=9)
        stream = await api.openai.completions.create(
            model="helpdesk", prompt=[QUESTION], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    [choice] = whole.choices
    assert (whole.object, choice.text, choice.finish_reason) == ("text_completion", "Press reset.", "stop")
    assert whole.usage
    assert whole.usage.total_tokens == 23
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "Press reset."
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert (chunks[0].choices[0].text, chunks[-2].choices[0].finish_reason) == ("Press ", "stop")
    assert chunks[-1].usage
    (_, question, _), _ = answers.asked
    assert (question.text, question.sampling.max_output_tokens) == (QUESTION, 9)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2], [3]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": ["a", "b"], "tidemill": {"conversation": "c-1"}}, "tidemill.conversation"),
        ({"echo": 1}, "echo"),
        ({"echo": True, "logprobs": 1}, "logprobs"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": []}, "messages"),
        ({"tools": []}, "tools"),
        ({"best_of": 0}, "best_of"),
        ({"best_of": True}, "best_of"),
        ({"best_of": 17}, "best_of"),
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"temperature": 3}, "temperature"),
    ],
)
async def test_what_is_not_supported_is_refused_by_its_name(changes: dict[str, object], param: str) -> None:
    async with open_api(ScriptedAnswers()) as api:
        body = {"model": "helpdesk", "prompt": QUESTION, **changes}
        response = await api.http.post("/v1/completions", json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_what_changes_nothing_is_taken() -> None:
    body = b'{"model": "m", "prompt": "p", "suffix": null, "echo": false, "best_of": 1, "logprobs": 2}'
    asked = completion_request_of(body)

    assert (asked.chat.logprobs, asked.chat.top_logprobs) == (True, 2)
    assert [each.ranked for each in asked.questions()] == [False]


def test_log_probabilities_are_lists_with_the_places_of_tokens_through_all_chunks() -> None:
    say = Texts()

    def chunk(*tokens: str) -> dict[str, object]:
        content = [{"token": each, "logprob": -0.5, "top_logprobs": [{"token": "x", "logprob": -1}]} for each in tokens]
        delta = {"content": "".join(tokens)}
        choice = {"index": 0, "delta": delta, "logprobs": {"content": content}, "finish_reason": None}
        return {"object": "chat.completion.chunk", "choices": [choice]}

    first, second = say(chunk("Pre", "ss")), say(chunk(" it"))

    assert first
    assert first["choices"][0]["logprobs"] == {
        "tokens": ["Pre", "ss"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"x": -1, "Pre": -0.5}, {"x": -1, "ss": -0.5}],
        "text_offset": [0, 3],
    }
    assert second
    assert second["choices"][0]["logprobs"]["text_offset"] == [5]
