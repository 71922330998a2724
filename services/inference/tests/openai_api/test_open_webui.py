"""What Open WebUI sends to an OpenAI-compatible server, and what it reads of the answers."""

import json

from services.inference.tests.openai_api.apis import BODY, QUESTION, ScriptedAnswers, events_of, open_api, shop_key

MESSAGES = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": "By the portal."},
    {"role": "user", "content": [{"type": "text", "text": "And without it?"}]},
]


def headers() -> dict[str, str]:
    return {
        "Authorization": f"Bearer {shop_key()}",
        "Content-Type": "application/json",
        "X-OpenWebUI-User-Name": "Ada%20Lovelace",
        "X-OpenWebUI-User-Id": "u-17",
        "X-OpenWebUI-User-Email": "ada@example.com",
        "X-OpenWebUI-User-Role": "user",
        "X-OpenWebUI-Chat-Id": "c-1",
    }


async def test_its_list_of_models_has_the_deployments() -> None:
    async with open_api(ScriptedAnswers()) as api:
        listed = (await api.http.get("/v1/models", headers=headers())).json()

    assert listed["object"] == "list"
    assert [each["id"] for each in listed["data"]] == ["helpdesk", "sales"]
    assert {each["object"] for each in listed["data"]} == {"model"}


async def test_its_chat_is_streamed_with_the_settings_of_its_model_and_ends_with_usage() -> None:
    settings = {"temperature": 0.7, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0, "max_tokens": 128}
    async with open_api(ScriptedAnswers()) as api:
        streamed = await api.ask(
            headers=headers(),
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
            **settings,
        )

    assert streamed.status_code == 200
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *chunks, done = events_of(streamed)
    said = [json.loads(each) for each in chunks]
    texts = [choice["delta"].get("content") or "" for each in said for choice in each["choices"]]
    assert "".join(texts) == "Press reset."
    assert said[-1]["usage"]["total_tokens"] == 23
    assert done == "[DONE]"


async def test_titles_tags_and_follow_ups_are_asked_for_beside_it_without_a_stream() -> None:
    title = [{"role": "user", "content": "### Task:\nGenerate a concise title."}]
    async with open_api(ScriptedAnswers()) as api:
        whole = await api.ask(headers=headers(), messages=title, stream=False, max_completion_tokens=1000)

    assert whole.json()["choices"][0]["message"]["content"] == "Press reset."


async def test_what_it_cannot_have_is_an_error_that_it_shows() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    async with open_api(ScriptedAnswers()) as api:
        refused = await api.ask(headers=headers(), **{**BODY, "messages": [{"role": "user", "content": [image]}]})

    assert refused.status_code == 400
    assert "image_url" in refused.json()["error"]["message"]
