"""Topics: what the documents of a collection are about."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

from tidemill.rag.v1.topic_pb2 import TopicPeriod
from tidemill.rag.v1.topic_service_pb2 import GetTopicsRequest, GetTopicsResponse
from tidemill_client.connection import Connection
from tidemill_client.profiles import Days

_DEFAULT_DAYS = 30


class Topics:
    """The topics of a project's collections, of the documents that the credential may read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def of(  # noqa: PLR0913 - what is asked for
        self,
        collection: str,
        *,
        sources: Sequence[str] = (),
        count: int = 0,
        outlier_quantile: float = 0.98,
        days: Days | None = None,
        baseline: Days | None = None,
        significance: float = 0.05,
    ) -> GetTopicsResponse:
        """Return the topics of a collection, or of some of its sources; `count` 0 has their number chosen.

        With `days` each topic's documents of these days are counted, and with `baseline` compared with those of others.
        """
        request = GetTopicsRequest(
            collection=collection,
            sources=sources,
            count=count,
            outlier_quantile=outlier_quantile,
            period=_period(days) if days else None,
            baseline=_period(baseline) if baseline else None,
            significance=significance,
        )
        return await self._connection.topics.GetTopics(request)


def _period(days: Days) -> TopicPeriod:
    last = days.last or datetime.now(UTC).date()
    first = days.first or date.fromordinal(max(1, last.toordinal() - _DEFAULT_DAYS + 1))
    return TopicPeriod(first_day=first.isoformat(), last_day=last.isoformat())
