"""The certificate of an erasure: RFC 8785 canonical JSON, made of what is stored, so that it is always the same."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tidemill_monitor.erasures.domain.erasure import Erasure, Report

FORMAT: Final = "tidemill.erasure.v1"
TOPIC_DAYS: Final = 30
"""For as long topics keep events and dead letters."""
SUBMISSION_DAYS: Final = 7
"""For as long topics keep submissions and their dead letters, the only ones with text."""
_KEPT: Final = (
    "audit records, which name subjects of calls",
    "the erasure, with the digest of its subject",
    "of a deleted project: its id, who requested the deletion, and the revocation of its credentials",
)
_NOT_COVERED: Final = (
    "backups of databases and object stores, which are the operator's",
    "copies that clients, webhooks and remote models received",
    "what models learned: weights are not taken apart",
)


def certificate_of(erasure: Erasure) -> bytes:
    """Return the certificate of an erasure that all services have reported.

    Of ASCII names, texts and integers below 2^53, the standard library writes what RFC 8785 demands.
    """
    done = erasure.last_report_time
    content = {
        "format": FORMAT,
        "id": erasure.id,
        "project": erasure.project,
        "scope": erasure.scope.value,
        "subject_sha256": erasure.subject_digest,
        "requester": erasure.requester,
        "request_time": _time(erasure.request_time),
        "due_time": _time(erasure.due_time),
        "complete_time": _time(done),
        "services": {report.service: _service(report) for report in erasure.reports},
        "ages_out": _ages_out(done),
        "kept": list(_KEPT),
        "not_covered": list(_NOT_COVERED),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _service(report: Report) -> Mapping[str, Any]:
    erased: dict[str, int] = {}
    for each in report.counts:
        erased[each.kind] = erased.get(each.kind, 0) + each.count
    return {
        "start_time": _time(report.start_time),
        "complete_time": _time(report.complete_time),
        "erased": erased,
    }


def _ages_out(done: datetime) -> Sequence[Mapping[str, str]]:
    return [
        {
            "what": "records of Kafka topics of events, with ids and digests, and their dead letters",
            "until": _time(done + timedelta(days=TOPIC_DAYS)),
        },
        {
            "what": "records of Kafka topics of submissions, with text, and their dead letters",
            "until": _time(done + timedelta(days=SUBMISSION_DAYS)),
        },
    ]


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
