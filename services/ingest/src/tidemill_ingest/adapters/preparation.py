"""Bytes in, what may be stored out: extraction, cleaning and masking, in processes of their own."""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog
from pebble import ProcessExpired, ProcessPool

from tidemill_ingest.adapters.masking.stage import DEFAULT_PHONE_REGIONS, MaskingStage
from tidemill_ingest.adapters.text_extraction import extract
from tidemill_ingest.application.ports import Prepared
from tidemill_ingest.domain.errors import DocumentRefused
from tidemill_ingest.domain.masking import Masking
from tidemill_ingest.domain.submission import DocumentSpec
from tidemill_kit.errors import Internal

R = TypeVar("R")
_TITLE_LENGTH = 500
_log = structlog.get_logger(__name__)


def prepare_document(
    spec: DocumentSpec, content: bytes, masking: Masking, phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS
) -> Prepared:
    """Return what may be stored of a document: nothing in it has not passed the masking stage.

    Raises:
        DocumentRefused: the bytes are no text, or hold none.

    """
    extracted = extract(content, spec.media_type)
    stage = MaskingStage(masking, phone_regions)
    title = stage.mask(spec.title or _shortened(extracted.title))
    return Prepared(
        media_type=extracted.media_type,
        text=stage.mask(extracted.text),
        title=title,
        uri=stage.mask(spec.uri),
        metadata={key: stage.mask(fact) if isinstance(fact, str) else fact for key, fact in spec.metadata.items()},
        steps=(*extracted.steps, stage.name()),
        masked=dict(sorted(stage.masked.items())),
    )


def mask_text(text: str, phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS) -> str:
    """Return a short text with everything masked."""
    return MaskingStage(Masking(), phone_regions).mask(text)


class ProcessPreparation:
    """Implements `ports.Preparation`. A document that takes too long, or kills its process, harms no other one."""

    def __init__(self, *, workers: int, timeout_s: float, phone_regions: Sequence[str]) -> None:
        self._timeout_s = timeout_s
        self._phone_regions = tuple(phone_regions)
        # Neither fork after gRPC has its threads, nor a stray child when this process is killed.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(max_workers=workers, initializer=_die_with_parent, context=context)

    async def start(self) -> None:
        """Start the processes, so that the first document does not wait for them."""
        await self._run(mask_text, "", self._phone_regions)

    async def stop(self) -> None:
        """Stop them; what is in work is given up."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves this one out
        await asyncio.to_thread(self._pool.join)

    async def prepare(self, spec: DocumentSpec, content: bytes, *, masking: Masking) -> Prepared:
        """See `ports.Preparation.prepare`."""
        return await self._run(prepare_document, spec, content, masking, self._phone_regions)

    async def mask(self, text: str) -> str:
        """See `ports.Preparation.mask`."""
        return await self._run(mask_text, text, self._phone_regions)

    async def _run(self, work: Callable[..., R], *arguments: object) -> R:
        future = self._pool.schedule(work, args=arguments, timeout=self._timeout_s)
        try:
            return await asyncio.wrap_future(future)
        except TimeoutError as error:
            description = f"takes more than {self._timeout_s:g} s to extract and mask: split it, or simplify its markup"
            raise DocumentRefused(reason="DOCUMENT_TOO_COMPLEX", field="content", description=description) from error
        except ProcessExpired as error:
            _log.warning("preparation_process_died", exit_code=error.exitcode)
            message = "the document's processing died: try again, then send it in parts"
            raise Internal(message) from error


def _shortened(title: str) -> str:
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"


def _die_with_parent() -> None:
    """End this process when its parent does, however that ends; Ctrl-C is for the parent to handle."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
