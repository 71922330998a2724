"""Sends the same question to the OpenAI-compatible endpoint, with curl and OpenAI's client, by an API key."""

import asyncio
import contextlib
import json
import shutil
import uuid

from rich.markup import escape

from tidemill.monitor.v1.access_pb2 import Project, ServiceAccount
from tidemill_cli.output import stdout
from tidemill_client.access import Access
from tidemill_client.connection import Connection
from tidemill_core.errors import AlreadyExists, Internal
from tidemill_helpdesk.helpdesk import DEPLOYMENT, Helpdesk

PRODUCT = "product"
"""The service account of what asks by HTTP."""


async def same_question_elsewhere(helpdesk: Helpdesk, question: str) -> None:
    """Ask with both clients and print the answers."""
    connection = helpdesk.connection
    base_url = f"http://{connection.addresses.http}/v1"
    key = await _api_key(connection)
    endpoints: dict[str, str] = {}
    if shutil.which("curl"):
        body = {"model": DEPLOYMENT, "messages": [{"role": "user", "content": question}]}
        endpoints["curl"] = await _by_curl(base_url, key, json.dumps(body))
    arguments = ["--base-url", base_url, "--deployment", DEPLOYMENT]
    asked = await helpdesk.example.run("ask_openai.py", arguments, question, OPENAI_API_KEY=key)
    endpoints["the openai client"] = str(asked["answer"])
    for endpoint, answer in endpoints.items():
        stdout.print(f"   by {endpoint}: {escape(answer)}", highlight=False)
    helpdesk.report.add("answers", by_other_channels=len(endpoints))


async def _api_key(connection: Connection) -> str:
    """Return an API key of the project: all that an OpenAI client needs beside the address."""
    access = Access(connection)
    with contextlib.suppress(AlreadyExists):
        await access.projects.create(Project(id=connection.project))
    with contextlib.suppress(AlreadyExists):
        await access.service_accounts.create(ServiceAccount(id=PRODUCT, roles=["contributor"]))
    return (await access.keys.create(f"demo-{uuid.uuid4().hex[:8]}", PRODUCT)).token


async def _by_curl(base_url: str, key: str, body: str) -> str:
    command = [
        "curl", "--silent", "--show-error", "--max-time", "60", f"{base_url}/chat/completions",
        "--header", "@-", "--header", "Content-Type: application/json", "--data", body,
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate(f"Authorization: Bearer {key}".encode())  # no argument: others see those
    try:
        return str(json.loads(output)["choices"][0]["message"]["content"]).strip()
    except (ValueError, LookupError):
        message = f"curl got no answer: {(errors or output).decode(errors='replace').strip()}"
        raise Internal(message) from None
