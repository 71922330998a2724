import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from tidemill_core.errors import DeadlineExceeded, RateLimited
from tidemill_kit.grpc.uploads import Patience, UploadPlaces


def places(
    *, max_concurrent: int = 4, of_project: int = 3, idle_s: float = 60.0, whole_s: float = 60.0
) -> UploadPlaces:
    return UploadPlaces(Patience(max_concurrent=max_concurrent, of_project=of_project, idle_s=idle_s, whole_s=whole_s))


async def parts(*, then_hangs: bool = False, for_ever: bool = False) -> AsyncIterator[int]:
    yield 1
    while for_ever:
        await asyncio.sleep(0)
        yield 2
    if then_hangs:
        await asyncio.Event().wait()


async def test_a_project_has_half_of_the_places_and_others_the_rest() -> None:
    given = places()
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(given.held("busy"))
        third = asyncio.create_task(stack.enter_async_context(given.held("busy")))
        async with asyncio.timeout(5), given.held("other"):
            await asyncio.sleep(0)  # the third one runs until it waits
            assert not third.done()
        with pytest.raises(RateLimited, match="3 uploads of the project are in progress"):
            await stack.enter_async_context(given.held("busy"))
        third.cancel()
        await asyncio.wait([third])


async def test_a_place_is_given_back_whatever_happens() -> None:
    given = places(max_concurrent=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(5), given.held("acme"):
                raise ZeroDivisionError


async def test_the_parts_of_an_upload_come_through() -> None:
    assert [part async for part in places().patiently(parts())] == [1]


async def test_an_upload_that_stands_still_ends() -> None:
    with pytest.raises(DeadlineExceeded, match=r"no part of the upload came for 0\.01 s"):
        _ = [part async for part in places(idle_s=0.01).patiently(parts(then_hangs=True))]


async def test_an_upload_that_goes_on_for_ever_ends() -> None:
    with pytest.raises(DeadlineExceeded, match=r"took more than 0\.01 s"):
        _ = [part async for part in places(whole_s=0.01).patiently(parts(for_ever=True))]


class Held:
    """A file that is read piece by piece, and held while that goes on."""

    def __init__(self, *, pieces: int = 3) -> None:
        self.pieces, self.let_go = pieces, asyncio.Event()

    async def read(self) -> AsyncGenerator[int, None]:
        try:
            for piece in range(self.pieces):
                yield piece
        finally:
            self.let_go.set()


async def test_the_pieces_of_a_download_come_through_in_their_order() -> None:
    assert [piece async for piece in places().given("acme", Held(pieces=5).read())] == [0, 1, 2, 3, 4]


async def test_a_reader_that_stands_still_loses_its_place_and_the_file() -> None:
    given, file = places(max_concurrent=1, idle_s=0.01), Held()
    async with aclosing(given.given("acme", file.read())) as reading:
        assert await anext(reading) == 0
        async with asyncio.timeout(5):
            await file.let_go.wait()
            async with given.held("other"):
                pass
        with pytest.raises(DeadlineExceeded, match=r"no part of the download was taken for 0\.01 s"):
            _ = [piece async for piece in reading]


async def test_a_reader_that_is_slow_for_ever_ends() -> None:
    async def read() -> None:
        async for _ in places(whole_s=0.01).given("acme", Held(pieces=100_000).read()):
            await asyncio.sleep(0.001)

    with pytest.raises(DeadlineExceeded, match=r"the download took more than 0\.01 s"):
        await read()


async def test_a_download_that_is_given_up_holds_nothing() -> None:
    given, file = places(max_concurrent=1), Held()
    async with aclosing(given.given("acme", file.read())) as reading:
        await anext(reading)

    assert file.let_go.is_set()
    async with asyncio.timeout(5), given.held("acme"):
        pass


async def test_what_is_wrong_with_a_file_is_the_error_of_its_download() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _ = [piece async for piece in places().given("acme", broken())]
