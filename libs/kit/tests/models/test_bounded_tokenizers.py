"""Tokenizers in processes with limits: one that takes too much ends alone, and keeps its own project waiting."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tidemill_core.errors import InvalidInput
from tidemill_core.models.tokenizer_rules import check_tokenizer
from tidemill_kit.models.bounded_tokenizers import IMPORTS, BoundedTokenizers, with_tokenizer
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_testkit.loop_lag import loop_lag

CPU_S = 0.1
SLOW = ("a" * 300 + " ") * 500 + "b"
"""Takes a minute and more where a pattern tries each way to cut a run into three."""


def tokenizer_of(folder: Path, pattern: str) -> Path:
    content: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        },
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "x": 1}, "unk_token": "[UNK]"},
    }
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def ids_of(tokenizer: Any, text: str) -> list[int]:  # noqa: ANN401 - of a library without types
    found: list[int] = tokenizer.encode(text).ids
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bounded() -> AsyncIterator[BoundedTokenizers]:
    limits = ProcessLimits(workers=2, share=1, cpu_s=CPU_S, wall_s=60, memory_bytes=2 << 30)
    processes = BoundedProcesses(limits, "tests", IMPORTS)
    yield BoundedTokenizers(processes)
    await processes.stop()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slow_tokenizer_ends_alone_while_other_projects_go_on(
    bounded: BoundedTokenizers, tmp_path: Path
) -> None:
    (tmp_path / "slow").mkdir()
    slow, quick = tokenizer_of(tmp_path / "slow", "a*a*a*b"), tokenizer_of(tmp_path, " ")
    check_tokenizer(json.loads(slow.read_bytes()))
    expected = with_tokenizer(quick, ids_of, "x y")

    async with loop_lag() as lag:
        held = [asyncio.create_task(bounded.run("slow", slow, ids_of, SLOW, name="slow@1")) for _ in range(2)]
        await asyncio.sleep(0)
        assert await bounded.run("other", quick, ids_of, "x y", name="quick@1") == expected
        assert not any(task.done() for task in held[1:])
        ended = await asyncio.gather(*held, return_exceptions=True)

    assert [type(each) for each in ended] == [InvalidInput] * 2
    assert "the tokenizer of slow@1 takes more than 0.1 s" in str(ended[0])
    assert lag.worst_s < 0.2


@pytest.mark.asyncio(loop_scope="module")
async def test_a_tokenizer_that_panics_fails_its_own_text(bounded: BoundedTokenizers, tmp_path: Path) -> None:
    file = tokenizer_of(tmp_path, "^(a|a)*$")

    with pytest.raises(InvalidInput, match="the tokenizer of evil@1 fail"):
        await bounded.run("evil", file, ids_of, "a" * 22 + "!", name="evil@1")

    assert await bounded.run("evil", file, ids_of, "x", name="evil@1") == [1]


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_no_tokenizer_is_refused(bounded: BoundedTokenizers, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")

    with pytest.raises(InvalidInput, match="the tokenizer of no@1"):
        await bounded.run("evil", tmp_path / "tokenizer.json", ids_of, "x", name="no@1")
