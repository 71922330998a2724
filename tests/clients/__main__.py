"""Clients that others wrote, against the HTTP API with a scripted provider behind it: LangChain's and Node's.

`python -m tests.clients` installs each in an environment of its own by its lock, below .tidemill/clients. OpenAI's
client for Python is in the tests of inference.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

from services.inference.tests.openai_api.apis import shop_key
from services.inference.tests.openai_api.responding import responding
from tests.environments import installed

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ROOT / ".tidemill" / "clients"
_TIMEOUT_S = 120


def langchain() -> list[str]:
    """Return the command of LangChain's client."""
    programs = installed(HERE / "langchain" / "requirements.lock", ENVIRONMENTS / "langchain")
    return [str(programs / "python"), str(HERE / "langchain" / "client.py")]


def node() -> list[str]:
    """Return the command of OpenAI's client for Node, none where there is no Node."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        return []
    folder = ENVIRONMENTS / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(HERE / "node" / name, folder)
    subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True)  # noqa: S603
    return [found, str(folder / "client.mjs")]


async def main() -> int:
    """Run each client, and return 1 where one fails."""
    failed = 0
    commands = {"LangChain": langchain(), "OpenAI for Node": node()}
    async with responding() as api:
        url = f"http://127.0.0.1:{api.client.server.port}/v1"
        environment = os.environ | {"CLIENTS_URL": url, "CLIENTS_KEY": shop_key()}
        for name, command in commands.items():
            if not command:
                sys.stdout.write(f"left out  {name}: there is no node here\n")
                continue
            process = await asyncio.create_subprocess_exec(*command, env=environment)
            async with asyncio.timeout(_TIMEOUT_S):
                code = await process.wait()
            sys.stdout.write(f"{'BROKEN  ' if code else 'works   '}  {name}\n")
            failed += bool(code)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
