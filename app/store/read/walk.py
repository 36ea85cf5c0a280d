"""Walking through all pages of a list."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


class _Page(Protocol[T_co]):
    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next_page_id(self) -> str | None: ...


class _List(Protocol[T_co]):
    def __call__(self, *, page_id: str | None) -> Coroutine[Any, Any, _Page[T_co]]: ...


async def walk_pages(read_page: _List[T_co]) -> AsyncGenerator[T_co, None]:
    """Yield the items of all pages. A page is read when its first item is needed."""
    page_id = None
    while True:
        page = await read_page(page_id=page_id)
        for item in page.items:
            yield item
        page_id = page.next_page_id
        if page_id is None:
            return
