"""The examples that the demo runs: a loop.yaml and scripts in examples/helpdesk, and in examples/office."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from tidemill_client.connection import Connection, local_folder
from tidemill_core.errors import Internal, NotFound

LOOP, DEEP = "loop.yaml", "deep.yaml"
"""The loop that the demo runs, and the one that learns in depth."""


class CorpusDocument(Protocol):
    """One document of the example's corpus."""

    key: str
    title: str
    media_type: str
    text: str
    area: str

    @property
    def question(self) -> str:
        """What a newcomer would ask about it."""
        ...

    @property
    def answer(self) -> str:
        """What a person who knows would answer."""
        ...


def upstream(connection: Connection, service: str) -> list[str]:
    """Return the arguments by which publish.py is an upstream system of a service."""
    arguments = ["--bootstrap", connection.addresses.kafka, "--project", connection.project]
    arguments += ["--key", connection.addresses.publisher_file]
    user = f"tidemill-upstream-{service}"
    file = connection.addresses.kafka_password(user)
    return [*arguments, "--username", user, "--password-file", str(file)] if file else arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The example's folder."""

    folder: Path
    file: str = LOOP
    """The loop's file in it."""

    @classmethod
    def find(cls, name: str = "helpdesk", *, file: str = LOOP) -> "Example":
        """Return an example beside the repository's `.tidemill/`.

        Raises:
            NotFound: the command does not run inside the repository.

        """
        local = local_folder()
        folder = local.parent / "examples" / name if local else Path("examples", name)
        if not (folder / file).is_file():
            message = f"examples/{name}/{file} not found: run the demo inside the repository, after `make setup`"
            raise NotFound(message)
        return cls(folder=folder, file=file)

    @property
    def loop(self) -> Path:
        """The loop's file."""
        return self.folder / self.file

    @property
    def local(self) -> Path:
        """The folder that the local stack keeps its data in."""
        return self.folder.parents[1] / ".tidemill"

    async def documents(self) -> list[CorpusDocument]:
        """Return the corpus; it is generated in a separate process, so that every run gets the same one."""
        document = self.corpus().Document
        return [document(**fields) for fields in (await self.run("corpus.py", [], ""))["documents"]]

    def trusted(self, documents: Sequence[CorpusDocument], count: int, *, taught: int) -> list[CorpusDocument]:
        """Return the documents of the trusted cases, without those that the demo's corrections use."""
        corpus, known = self.corpus(), list(documents)
        kept: list[CorpusDocument] = corpus.trusted(known, count, without=corpus.questions(known, taught))
        return kept

    def write_trusted_cases(self, cases: Sequence[CorpusDocument]) -> None:
        """Write the file of the suite in loop.yaml."""
        lines = [json.dumps({"id": each.title, "question": each.question, "reference": each.answer}) for each in cases]
        path = self.local / "helpdesk" / "truth.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")  # another process may be reading the file
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(path)

    def corpus(self) -> ModuleType:
        """Return the example's corpus module."""
        specification = importlib.util.spec_from_file_location("helpdesk_corpus", self.folder / "corpus.py")
        if specification is None or specification.loader is None:
            message = "examples/helpdesk/corpus.py is missing"
            raise NotFound(message)
        module = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
        return module

    async def run(self, script: str, arguments: Sequence[str], stdin: str, **environment: str) -> dict[str, Any]:
        """Run one of the example's scripts in a separate process, and return the JSON in its last line of output.

        Raises:
            Internal: the script failed.

        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self.folder / script),
            *arguments,
            env=os.environ | environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate(stdin.encode())
        if process.returncode:
            message = f"{script} failed: {errors.decode(errors='replace').strip().splitlines()[-1:]}"
            raise Internal(message)
        result: dict[str, Any] = json.loads(output.decode().strip().splitlines()[-1])
        return result
