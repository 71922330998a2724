"""Iteration over paginated lists."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

PAGE_SIZE = 200


class PagedRequest(Protocol):
    """A List request."""

    page_size: int
    page_token: str


class Page(Protocol):
    """A List response."""

    @property
    def next_page_token(self) -> str:
        """Empty on the last page."""
        ...


Q = TypeVar("Q", bound=PagedRequest)
R = TypeVar("R", bound=Page)
T = TypeVar("T")


async def every(call: Callable[[Q], Awaitable[R]], request: Q) -> AsyncIterator[R]:
    """Yield every page of a list; modifies the request."""
    request.page_size = request.page_size or PAGE_SIZE
    while True:
        page = await call(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def each(call: Callable[[Q], Awaitable[R]], request: Q, items: Callable[[R], Iterable[T]]) -> AsyncIterator[T]:
    """Yield every item of a list; modifies the request."""
    async for page in every(call, request):
        for item in items(page):
            yield item


def filter_of(**fields: str) -> str:
    """Return the filter of a list by the fields that are set (AIP-160)."""
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in fields.items() if value}
    return " AND ".join(f'{name} = "{value}"' for name, value in quoted.items())
