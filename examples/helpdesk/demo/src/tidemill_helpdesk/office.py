"""The demo's folder of files: added by the command, and asked for what stands on a page, a sheet or a row."""

import asyncio
import json
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from tidemill.content.v1.content_pb2 import AnchorKind, Passage
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest
from tidemill.rag.v1.collection_pb2 import IndexState
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.plan import Planner
from tidemill_cli.output import stdout, word
from tidemill_client.connection import Connection
from tidemill_client.declared import Collections
from tidemill_client.values import text_of, user
from tidemill_core.errors import Internal
from tidemill_core.places import described
from tidemill_helpdesk.example import Example
from tidemill_helpdesk.patience import for_each, until
from tidemill_helpdesk.report import Report

NAME = "office"
"""The source, the collection and the deployment of the example's loop.yaml."""
ASKED_FOR_S = 120.0


@dataclass(slots=True, kw_only=True)
class Office:
    """A folder of files, in the project of the run."""

    connection: Connection
    example: Example
    report: Report
    facts: dict[str, Any] = field(default_factory=dict)
    """State for later steps: `office`, what the folder has."""

    async def add(self) -> None:
        """Write the folder, add it by `tidemill documents add`, and wait until all that is in it is searchable."""
        folder = self.example.local / "demo" / NAME
        made = await self.example.run("files.py", [str(folder)], "")
        self.facts[NAME] = made
        await Planner(self.connection, read_loop(self.example.loop)).apply()
        added = await self._documents_add(folder)
        if sorted(added["refused"]) != made["refused"] or len(added["skipped"]) != len(made["skipped"]):
            message = f"of the folder {sorted(added['refused'])} were refused, and {added['skipped']} skipped"
            raise Internal(message)
        for key, why in added["refused"].items():
            stdout.print(f"   refused: {key}: {why}", markup=False, highlight=False)
        for each in added["skipped"]:
            stdout.print(f"   skipped: {Path(each['path']).name}: {each['why']}", markup=False, highlight=False)
        searchable = await self._searchable(len(made["documents"]))
        files = len(added["added"]) + len(added["refused"]) + len(added["skipped"])
        self.report.add(NAME, files=files, refused=len(added["refused"]), skipped=len(added["skipped"]))
        self.report.add(NAME, documents=searchable)
        stdout.print(f"   {files} files, {searchable} documents with those inside of archives and mails")

    async def _documents_add(self, folder: Path) -> dict[str, Any]:
        """Run the command as a user would, and return what it prints."""
        command = ["documents", "add", str(folder), "--recursive", "--below", str(folder), "--source", NAME]
        options = ["--project", self.connection.project, "--json"]
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("tidemill")),
            *command,
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        try:
            result: dict[str, Any] = json.loads(output)
            return {name: result[name] for name in ("added", "refused", "skipped")}
        except (ValueError, KeyError):
            message = f"tidemill documents add failed: {(errors or output).decode(errors='replace').strip()}"
            raise Internal(message) from None

    async def _searchable(self, expected: int) -> int:
        async def indexed() -> int | None:
            collection = await Collections(self.connection).get(NAME)
            live = [index for index in collection.indexes if index.state == IndexState.INDEX_STATE_LIVE]
            if live and live[0].documents_failed:
                message = f"{live[0].documents_failed} documents could not be indexed: {live[0].message}"
                raise Internal(message)
            return expected if live and live[0].documents_indexed >= expected else None

        failure = f"not all of {expected} documents of the folder became searchable"
        return await until(indexed, failure, waiting="indexing files")

    async def ask(self) -> None:
        """Ask what one page, sheet or row answers, and verify that the answer was given that place."""
        questions, right = self.facts[NAME]["questions"], 0

        async def one(question: Mapping[str, str]) -> None:
            nonlocal right
            request = GenerateRequest(request_id=str(uuid.uuid4()), deployment=NAME, messages=[user(question["text"])])
            inference = (await self.connection.inferences.Generate(request, timeout=ASKED_FOR_S)).inference
            places = [f"{passage.key}, {place_of(passage)}" for passage in inference.passages]
            right += expected(question) in places[:1]
            stdout.print(f"   [bold]{escape(question['text'])}[/] {escape(text_of(inference))}", highlight=False)
            stdout.print(f"     [dim]from {escape(places[0] if places else 'nothing')}[/]", highlight=False)

        await for_each(questions, one, max_concurrent=1)
        self.report.add(NAME, asked=len(questions), at_their_place=right)
        if not right:
            message = f"none of the {len(questions)} questions was answered from the place that has the answer"
            raise Internal(message)


def expected(question: Mapping[str, str]) -> str:
    """Return the document and the place that answer a question of the example."""
    return f"{question['key']}, {question['place']}"


def place_of(passage: Passage) -> str:
    """Return where a passage is in its file, such as "page 7", "" where that is not known."""
    return described((word(AnchorKind, each.kind), each.first, each.last, each.name) for each in passage.places)
