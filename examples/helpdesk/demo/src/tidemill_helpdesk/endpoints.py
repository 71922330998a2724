"""Sends the same question to the OpenAI-compatible endpoint, with curl and with OpenAI's client."""

import asyncio
import json
import shutil

from rich.markup import escape

from tidemill_cli.output import stdout
from tidemill_core.errors import Internal
from tidemill_helpdesk.helpdesk import DEPLOYMENT, Helpdesk


async def same_question_elsewhere(helpdesk: Helpdesk, question: str) -> None:
    """Ask with both clients and print the answers."""
    connection = helpdesk.connection
    base_url = f"http://{connection.addresses.http}/v1"
    endpoints: dict[str, str] = {}
    if shutil.which("curl"):
        body = {"model": DEPLOYMENT, "messages": [{"role": "user", "content": question}]}
        endpoints["curl"] = await _by_curl(base_url, connection.project, json.dumps(body))
    arguments = ["--base-url", base_url, "--project", connection.project, "--deployment", DEPLOYMENT]
    endpoints["the openai client"] = str((await helpdesk.example.run("ask_openai.py", arguments, question))["answer"])
    for endpoint, answer in endpoints.items():
        stdout.print(f"   by {endpoint}: {escape(answer)}", highlight=False)
    helpdesk.report.add("answers", by_other_channels=len(endpoints))


async def _by_curl(base_url: str, project: str, body: str) -> str:
    command = [
        "curl", "--silent", "--show-error", "--max-time", "60", f"{base_url}/chat/completions",
        "--header", f"OpenAI-Project: {project}", "--header", "Content-Type: application/json",
        "--data", body,
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
