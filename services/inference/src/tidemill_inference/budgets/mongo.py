"""Budgets as documents, and the counts: one document each, changed by conditional updates that all replicas share.

A count is `{_id, project, until, check_at, used: {budget: {kind: n}}, holds: {hold: {until, inference, amounts}}}`.
What calls in progress have reserved is part of `used`, so that one condition on it decides; the hold says how much of
it to give back, and is removed in the update that does so: that update has its effect once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.message import Message

from tidemill.inference.v1 import events_pb2
from tidemill_core.aggregate import Event
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.budgets.domain.budget import Amounts, Budget, BudgetWasExhausted, Kind
from tidemill_inference.budgets.domain.hold import Claim, Count, CountState, EndedHold, Hold, Refusal
from tidemill_kit.erasure.documents import erase_documents
from tidemill_kit.mapping import DocumentCodec, to_message
from tidemill_kit.store.mongo import (
    Collection,
    Document,
    DuplicateId,
    translated,
    update_in_order,
    update_those,
    updated,
)

COUNTS = "budget_counts"
_TRIES = 20
"""Of a reservation that others race for a new document; each of them loses once at most for every other one."""
_RECHECK = timedelta(seconds=60)
"""After which a count with calls in progress is looked through again for those that have died."""


def payload_of(budget: Budget, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    if not isinstance(event, BudgetWasExhausted):
        raise TypeError(event)
    return "tidemill.inference.budget.exhausted.v1", to_message(
        events_pb2.BudgetExhausted, event, budget, budget=budget.id, seq=seq, exhaust_time=event.occurred_at
    )


BUDGETS = DocumentCodec(Budget, event=payload_of)
"""Budgets as they are stored."""


@dataclass(frozen=True, slots=True)
class MongoLedger:
    """Implements `ports.Ledger`."""

    counts: Collection

    async def ensure_indexes(self) -> None:
        """Create what the sweeps need."""
        with translated():
            await self.counts.create_index([("check_at", 1), ("until", 1)])

    async def reserve(self, hold: Hold) -> Refusal | Mapping[str, CountState]:
        """See `Ledger.reserve`: one command, but for a call that is refused."""
        needed = list(hold.claims.items())
        for each in needed:  # a count that is not there yet takes whatever it is given
            if any(amount > claim.limits[kind] for claim in each[1] for kind, amount in claim.amounts.items()):
                return await self._refusal(*each) or {}  # it never fits
        for _ in range(_TRIES):
            if len(needed) == 1:
                done, seen = await self._reserve_one(hold, *needed[0])
            else:
                done = await update_in_order(self.counts, [_reservation(hold, *each) for each in needed])
                seen = {}
            if done == len(needed):
                return seen
            if len(needed) > 1:  # all of them: not every server stops at the first that is refused
                await self.charge(hold, dict.fromkeys(Kind, 0))
            if (refused := await self._refusal(*needed[done])) is not None:
                return refused
        message = "too many calls begin a new window of a budget at once: try again"
        raise DependencyUnavailable(message, dependency="mongodb")

    async def _reserve_one(
        self, hold: Hold, count: Count, claims: Sequence[Claim]
    ) -> tuple[int, Mapping[str, CountState]]:
        """Return how many were reserved, 0 or 1, and what is used with it."""
        try:
            before = await updated(self.counts, *_reservation(hold, count, claims), fields={"used": True}, upsert=True)
        except DuplicateId:
            return 0, {}
        used = {budget: dict(amounts) for budget, amounts in _state(before or {}).used.items()}
        for claim in claims:
            mine = used.setdefault(claim.budget, {})
            for kind, amount in claim.amounts.items():
                mine[kind] = mine.get(kind, 0) + amount
        return 1, {count.id: CountState(used=used)}

    async def charge(self, hold: Hold, used: Amounts) -> None:
        """See `Ledger.charge`."""
        await update_those(self.counts, [_charge(hold.id, *each, used) for each in hold.claims.items()])

    async def state(self, count_ids: Sequence[str]) -> Mapping[str, CountState]:
        """See `Ledger.state`."""
        with translated():
            found = await self.counts.find({"_id": {"$in": list(count_ids)}}).to_list(None)
        return {each["_id"]: _state(each) for each in found}

    async def ended(self, now: datetime, *, limit: int) -> Sequence[EndedHold]:
        """See `Ledger.ended`."""
        ended: list[EndedHold] = []
        while not ended:
            with translated():
                due = await self.counts.find({"check_at": {"$lt": now}}).limit(limit).to_list(None)
            if not due:
                break
            await update_those(self.counts, [_rechecked(each, now) for each in due])
            ended = [hold for each in due for hold in _ended(each, now)]
        return ended

    async def close(self, ended: EndedHold, used: Amounts | None) -> None:
        """See `Ledger.close`."""
        update: Document = {"$unset": {f"holds.{ended.hold}": ""}}
        if used is not None:
            update["$inc"] = {
                f"used.{budget}.{kind.value}": used[kind] - amount
                for budget, amounts in ended.amounts.items()
                for kind, amount in amounts.items()
            }
        await update_those(self.counts, [({"_id": ended.count_id, f"holds.{ended.hold}": {"$exists": True}}, update)])

    async def remove_old(self, now: datetime, *, limit: int) -> int:
        """See `Ledger.remove_old`."""
        return await erase_documents(self.counts, {"check_at": None, "until": {"$lt": now}}, limit=limit)

    async def erase_of(self, count: Count, *, limit: int) -> int:
        """See `Ledger.erase_of`."""
        mine = count.id.removeprefix(count.prefix).partition("/")[0]
        begins = f"{count.prefix}{mine}"
        return await erase_documents(self.counts, {"_id": {"$gte": f"{begins}/", "$lt": f"{begins}0"}}, limit=limit)

    async def _refusal(self, count: Count, claims: Sequence[Claim]) -> Refusal | None:
        state = (await self.state([count.id])).get(count.id, CountState())
        for claim in claims:
            for kind, amount in claim.amounts.items():
                if state.left(claim, kind) < amount:
                    return Refusal(count=count, claim=claim, kind=kind, state=state)
        return None


def _reservation(hold: Hold, count: Count, claims: Sequence[Claim]) -> tuple[Document, Document]:
    """Return filter and update: an upsert that is refused as a duplicate where a limit has too little left."""
    fits = {
        f"used.{claim.budget}.{kind.value}": {"$not": {"$gt": claim.limits[kind] - amount}}
        for claim in claims
        for kind, amount in claim.amounts.items()
    }
    added = {f"used.{claim.budget}.{kind.value}": amount for claim in claims for kind, amount in claim.amounts.items()}
    amounts = {claim.budget: {kind.value: amount for kind, amount in claim.amounts.items()} for claim in claims}
    held = {"until": hold.until, "inference": hold.inference, "amounts": amounts}
    return {"_id": count.id, **fits}, {
        "$inc": added,
        "$set": {f"holds.{hold.id}": held, "project": count.project, "until": count.end},
        "$min": {"check_at": hold.until},
    }


def _charge(hold: str, count: Count, claims: Sequence[Claim], used: Amounts) -> tuple[Document, Document]:
    changed = {
        f"used.{claim.budget}.{kind.value}": used[kind] - amount
        for claim in claims
        for kind, amount in claim.amounts.items()
    }
    return {"_id": count.id, f"holds.{hold}": {"$exists": True}}, {"$inc": changed, "$unset": {f"holds.{hold}": ""}}


def _rechecked(document: Document, now: datetime) -> tuple[Document, Document]:
    """Return filter and update: a count that nothing holds is checked again once something does."""
    if document.get("holds"):
        return {"_id": document["_id"]}, {"$set": {"check_at": now + _RECHECK}}
    return {"_id": document["_id"], "holds": {}}, {"$unset": {"check_at": ""}}


def _state(document: Document) -> CountState:
    reserved: dict[str, dict[Kind, int]] = {}
    for hold in document.get("holds", {}).values():
        for budget, amounts in hold["amounts"].items():
            mine = reserved.setdefault(budget, {})
            for kind, amount in _amounts(amounts).items():
                mine[kind] = mine.get(kind, 0) + amount
    return CountState(
        used={budget: _amounts(each) for budget, each in document.get("used", {}).items()}, reserved=reserved
    )


def _amounts(stored: Mapping[str, Any]) -> dict[Kind, int]:
    return {kind: int(stored[kind.value]) for kind in Kind if kind.value in stored}


def _ended(document: Document, now: datetime) -> list[EndedHold]:
    return [
        EndedHold(
            count_id=document["_id"],
            project=document["project"],
            hold=name,
            inference=held["inference"],
            amounts={budget: _amounts(each) for budget, each in held["amounts"].items()},
        )
        for name, held in document.get("holds", {}).items()
        if held["until"] < now
    ]
