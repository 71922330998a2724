"""The same question through the OpenAI-compatible door: by curl, and by OpenAI's own client."""

import asyncio
import json
import shutil

from openai import AsyncOpenAI
from rich.markup import escape

from tidemill_client.cli.output import stdout
from tidemill_client.connection import Connection
from tidemill_client.demo.report import Report
from tidemill_kit.errors import Internal


async def same_question_elsewhere(connection: Connection, question: str, deployment: str, report: Report) -> None:
    """Ask through both and show the answers."""
    base_url = f"http://{connection.addresses.http}/v1"
    body: dict[str, object] = {"model": deployment, "messages": [{"role": "user", "content": question}]}
    doors: dict[str, str] = {}
    if shutil.which("curl"):
        doors["curl"] = await _by_curl(base_url, connection.project, body)
    doors["openai client"] = await _by_client(base_url, connection.project, deployment, question)
    for door, answer in doors.items():
        stdout.print(f"   by {door}: {escape(answer)}", highlight=False)
    report.add("answers", by_other_doors=len(doors))


async def _by_curl(base_url: str, project: str, body: dict[str, object]) -> str:
    command = [
        "curl", "--silent", "--show-error", "--max-time", "60", f"{base_url}/chat/completions",
        "--header", f"OpenAI-Project: {project}", "--header", "Content-Type: application/json",
        "--data", json.dumps(body),
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    try:
        return str(json.loads(output)["choices"][0]["message"]["content"]).strip()
    except (ValueError, LookupError):
        message = f"curl got no answer: {(errors or output).decode(errors='replace').strip()}"
        raise Internal(message) from None


async def _by_client(base_url: str, project: str, deployment: str, question: str) -> str:
    """Stream the answer with the `openai` package; the key is not used yet, but the client wants one."""
    async with AsyncOpenAI(base_url=base_url, api_key="none", project=project) as client:
        pieces = []
        stream = await client.chat.completions.create(
            model=deployment, messages=[{"role": "user", "content": question}], stream=True
        )
        async for chunk in stream:
            pieces += [choice.delta.content or "" for choice in chunk.choices]
        return "".join(pieces).strip()
