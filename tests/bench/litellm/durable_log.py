"""The nearest to LiteLLM's logging to a database where its client for PostgreSQL cannot be had: rows in SQLite.

LiteLLM's own logging needs the engine of Prisma, a program that no package carries. Like it, this one keeps the row of
each call in memory and writes them in batches, here once a second, in one transaction that is on the disk when it ends.
LiteLLM imports it: `litellm_settings.callbacks: durable_log.logger`.
"""

import asyncio
import json
import os
import sqlite3
from contextlib import suppress
from typing import Any

from litellm.integrations.custom_logger import CustomLogger  # type: ignore[import-not-found] # in its own environment

_EVERY_S = 1.0
_COLUMNS = (
    "request_id",
    "call_type",
    "api_key",
    "model",
    "spend",
    "prompt_tokens",
    "completion_tokens",
    "start_time",
    "end_time",
    "messages",
    "response",
)


class DurableLog(CustomLogger):  # type: ignore[misc] # see above
    """Writes what LiteLLM's table of spend logs has."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[Any, ...]] = []
        self._writing: asyncio.Task[None] | None = None
        self._database = sqlite3.connect(os.environ["DURABLE_LOG"], check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(f"CREATE TABLE IF NOT EXISTS spend_logs ({', '.join(_COLUMNS)})")

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ANN401 - LiteLLM's
        """Keep the row of one call."""
        usage = response_obj.usage
        self._rows.append(
            (
                response_obj.id,
                kwargs.get("call_type"),
                kwargs["litellm_params"]["metadata"].get("user_api_key_hash"),
                kwargs.get("model"),
                kwargs.get("response_cost"),
                usage.prompt_tokens,
                usage.completion_tokens,
                start_time.isoformat(),
                end_time.isoformat(),
                json.dumps(kwargs.get("messages")),
                response_obj.model_dump_json(),
            )
        )
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            rows, self._rows = self._rows, []
            if rows:
                await asyncio.to_thread(self._insert, rows)

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        with self._database:
            self._database.executemany(f"INSERT INTO spend_logs VALUES ({', '.join('?' * len(_COLUMNS))})", rows)  # noqa: S608 - constants


with suppress(KeyError):
    logger = DurableLog()
