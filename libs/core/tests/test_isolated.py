"""One of many that breaks ends alone, also where native code raises what is no Exception."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill_core.errors import CancelledElsewhere, NativePanic, NotFound, isolated

ROOT = Path(__file__).parents[3]


class PanicException(BaseException):
    """What a library in Rust raises."""


def test_a_panic_is_an_error_that_can_be_caught() -> None:
    for panic in (PanicException("boom"), BaseExceptionGroup("of tasks", [PanicException("boom"), ValueError("x")])):
        with pytest.raises(NativePanic) as raised, isolated():
            raise panic
        assert raised.value.__cause__ is panic


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), GeneratorExit(), NotFound("x"), ValueError("x"),
        BaseExceptionGroup("of tasks", [PanicException(), asyncio.CancelledError()]),
    ],
)  # fmt: skip
def test_what_ends_a_task_or_the_process_and_every_exception_goes_on_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, isolated():
        raise error
    assert raised.value is error


async def test_a_cancellation_of_something_else_is_an_error_and_ones_own_goes_on() -> None:
    shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        with isolated():
            await shared

    async def stopped() -> None:
        with isolated():
            await asyncio.Event().wait()

    waiting, own = asyncio.create_task(wait()), asyncio.create_task(stopped())
    await asyncio.sleep(0)
    shared.cancel()
    own.cancel()

    with pytest.raises(CancelledElsewhere):
        await waiting
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await stopped()
    await asyncio.wait([own])
    assert own.cancelled()


def unguarded(path: Path) -> Iterator[str]:
    text = path.read_text()
    for node in ast.walk(ast.parse(text)) if "except Exception" in text else ():
        if not isinstance(node, ast.Try):
            continue
        for handler in node.handlers:
            if isinstance(handler.type, ast.Name) and handler.type.id == "Exception":
                guards = [
                    each for each in node.body if isinstance(each, ast.With) and "isolated()" in ast.unparse(each)
                ]
                if not guards:
                    yield f"{path.relative_to(ROOT)}:{handler.lineno}"


def test_an_except_of_every_exception_isolates_panics_too() -> None:
    folders = ("services/*", "libs/core", "libs/kit")
    sources = [source for folder in folders for source in ROOT.glob(f"{folder}/src/**/*.py")]

    assert [place for source in sources for place in unguarded(source)] == []
