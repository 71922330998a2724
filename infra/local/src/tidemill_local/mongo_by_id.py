"""Uses the `_id` index for filters with further conditions, for which the library would scan the collection.

`{_id: "acme/7", version: 3}` is how every save is guarded. The library takes its index on `_id` for `{_id: ...}` alone.
So the document is fetched by its `_id`, the library's own matcher says whether it fits, and the command goes on by
`_id` alone, or finds nothing. An upsert whose `_id` is there in a document that does not match fails as a duplicate, as
it does in the library after a scan. A lock per collection prevents changes in between. Of several operations in one
command each is made by itself, in their order, as what one does may matter to the next. As in MongoDB, they let other
commands in between, and so does the change of many documents.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import jpype

from tidemill_local.mongo_commits import GroupCommit
from tidemill_local.mongo_journal import MAX_COMMAND_DOCUMENTS, Journal
from tidemill_local.mongo_maps import DOCUMENTS
from tidemill_local.mongo_plain_updates import PLAIN, PlainUpdates
from tidemill_local.mongo_turns import Turns, in_turns

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "findandmodify"})
_LISTS = {"update": "updates", "delete": "deletes"}
_FILTERS = {"update": "q", "delete": "q", "findAndModify": "query", "findandmodify": "query", "find": "filter"}
_PART = 8
"""Documents of one operation that are changed before another command has its turn."""
_UPDATES = {"update": "u", "findAndModify": "update", "findandmodify": "update"}
_READS = frozenset({"find", "getMore", "count", "distinct", "isMaster", "ismaster", "ping"})
_WRITING_STAGES = frozenset({"$out", "$merge"})


def is_read(command: str, message: Any) -> bool:  # noqa: ANN401 - Java's MongoMessage
    """Return whether a command changes nothing, so that no commit is waited for; all others count as writes."""
    if command != "aggregate":
        return command in _READS
    stages = message.getDocument().get("pipeline") or ()
    return not any(name in _WRITING_STAGES for stage in stages for name in map(str, stage.keySet()))


class _Together:
    """The replies to the parts of one command, as one. Replies and lists are Java's."""

    def __init__(self, new_list: Callable[[], Any]) -> None:
        self._counts = dict[str, int]()
        self._found = {"upserted": new_list(), "writeErrors": new_list()}

    def add(self, index: int, reply: Any) -> bool:  # noqa: ANN401 - see above
        """Add the reply to a part of the operation with this index, and return whether it was not refused."""
        for each in ("n", "nModified"):
            if reply.containsKey(each):
                self._counts[each] = self._counts.get(each, 0) + int(reply.get(each))
        for each, entries in self._found.items():
            for entry in reply.get(each) or ():
                entry.put("index", index)
                entries.add(entry)
        return not reply.get("writeErrors")

    def reply(self, whole: Any) -> Any:  # noqa: ANN401 - see above
        """Return them all, in an empty reply."""
        for each, count in self._counts.items():
            whole.put(each, count)
        for each, entries in self._found.items():
            if entries:
                whole.put(each, entries)
        whole.put("ok", 1.0)
        return whole


class ById:
    """Handles the messages of a backend. Arguments and results are Java's objects, which have no Python types."""

    def __init__(self, backend: Any, store: Any, commit: GroupCommit, journal: Journal) -> None:  # noqa: ANN401 - see above
        self._backend = backend
        self._store = store
        self._commit = commit
        self._journal = journal
        self._document = jpype.JClass("de.bwaldvogel.mongo.bson.Document")
        self._list = jpype.JClass("java.util.ArrayList")
        self._text = jpype.JClass("java.lang.String")
        self._new_id = jpype.JClass("de.bwaldvogel.mongo.bson.ObjectId")
        self._duplicate: type[BaseException] = jpype.JClass("de.bwaldvogel.mongo.exception.DuplicateKeyError")
        self._matches: Callable[[Any, Any], bool] = jpype.JClass(
            "de.bwaldvogel.mongo.backend.DefaultQueryMatcher"
        )().matches
        self._plain = PlainUpdates(backend, store)
        self._turns: dict[str, Turns] = {}

    def handle(self, message: Any, command: str) -> Any:  # noqa: ANN401 - see above
        """Return the reply to a message. No commit is made while one that writes is handled."""
        if command not in WRITES and command not in _FILTERS:
            if is_read(command, message):
                return self._backend.handleMessage(message)
            with self._commit.writing():
                self._journal.require_commit()
                return self._backend.handleMessage(message)
        if command == "insert":
            self._give_ids(message.getDocument())
        operations = self._operations(message.getDocument(), command)
        conditional = any(self._is_conditional(each, command) for each in operations)
        if command not in WRITES and not conditional:
            return self._backend.handleMessage(message)
        database, collection = str(message.getDatabaseName()), str(message.getDocument().get(command))
        turns = self._turns.setdefault(f"{database}.{collection}", Turns())
        if not conditional:
            with self._turn(turns, command):
                return self._written(message, bounded=self._names_few(message, command))
        parts = [(index, part) for index, each in enumerate(operations) for part in self._parts(each, command)]
        if len(parts) > 1:
            return self._one_by_one(message, command, parts, turns)
        with self._turn(turns, command):
            return self._narrowed(message, command, operations[0])

    def handle_again(self, message: Any) -> None:  # noqa: ANN401 - see above
        """Do a command of the journal the way it was done."""
        is_plain = message.getDocument().remove(PLAIN)
        (self._plain.handle if is_plain else self._backend.handleMessage)(message)

    @contextmanager
    def _turn(self, turns: Turns, command: str) -> Iterator[None]:
        """Have the collection. Who holds it never waits for a commit, so that reads do not wait for one either."""
        with self._commit.writing() if command in WRITES else nullcontext(), turns:
            yield

    def _operations(self, document: Any, command: str) -> Sequence[Any]:  # noqa: ANN401 - see above
        """Return the operations of a command that may name a document."""
        if command not in _FILTERS:
            return []
        return list(document.get(_LISTS[command]) or ()) if command in _LISTS else [document]

    def _is_conditional(self, operation: Any, command: str) -> bool:  # noqa: ANN401 - see above
        """Return whether an operation asks for an `_id` and something else."""
        query = operation.get(_FILTERS[command])
        if query is None or query.size() < 2:  # noqa: PLR2004 - the `_id` and something else
            return False
        return isinstance(query.get("_id"), self._text) or (self._listed(query) and not operation.get("upsert"))

    def _give_ids(self, command: Any) -> None:  # noqa: ANN401 - see above
        """Give each document of an insert an `_id` before the command is in the journal: a replay would give others."""
        for each in command.get("documents") or ():
            if isinstance(each, self._document) and not each.containsKey("_id"):
                each.put("_id", self._new_id())

    def _names_few(self, message: Any, command: str) -> bool:  # noqa: ANN401 - see above
        """Return whether a command is only about documents that it names, and about few: it changes no others."""
        document = message.getDocument()
        if command == "insert":
            return len(document.get("documents") or ()) <= MAX_COMMAND_DOCUMENTS
        named = 0
        for operation in self._operations(document, command):
            query = operation.get(_FILTERS[command])
            if query is not None and isinstance(query.get("_id"), self._text):
                named += 1
            elif query is not None and self._listed(query):
                named += len(query.get("_id").get("$in"))
            else:
                return False
        return named <= MAX_COMMAND_DOCUMENTS

    def _parts(self, operation: Any, command: str) -> Iterator[Any]:  # noqa: ANN401 - see above
        """Yield an operation for a few documents each, where it is one for many."""
        is_for_all = (
            operation.get("multi") if command == "update" else command == "delete" and not operation.get("limit")
        )
        if (
            not is_for_all
            or not self._is_conditional(operation, command)
            or not self._listed(query := operation.get("q"))
        ):
            yield operation
            return
        named = list(dict.fromkeys(query.get("_id").get("$in")))  # a document that is named twice is changed once
        for start in range(0, max(1, len(named)), _PART):
            some, part = self._document(query), self._document(operation)
            some.put("_id", self._document("$in", self._list(named[start : start + _PART])))
            part.put("q", some)
            yield part

    def _one_by_one(self, message: Any, command: str, parts: Sequence[tuple[int, Any]], turns: Turns) -> Any:  # noqa: ANN401 - see above
        """Return what the parts of one command come to together, each with the index of its operation."""
        document, ahead = message.getDocument(), deque(parts)
        together, ordered = _Together(self._list), document.get("ordered")

        def make(part: tuple[int, Any]) -> None:
            index, operation = part
            document.put(_LISTS[command], self._list([operation]))
            if together.add(index, self._narrowed(message, command, operation)):
                return
            while ahead and (ordered is None or ordered or ahead[0][0] == index):
                ahead.popleft()  # its other documents are left as they are

        in_turns(ahead, make, lambda: self._turn(turns, command))
        return together.reply(self._document("n", 0))

    def _narrowed(self, message: Any, command: str, operation: Any) -> Any:  # noqa: ANN401 - see above
        """Return the reply to a message of one operation."""
        conditional = self._is_conditional(operation, command)
        try:
            if conditional:
                self._narrow(operation, message, command)
        except self._duplicate as error:
            if command != "update":
                raise
            return self._refusal(error)
        if command not in WRITES:
            return self._backend.handleMessage(message)
        if conditional and command == "update" and self._plain.takes(message, operation):
            message.getDocument().put(PLAIN, True)  # noqa: FBT003 - Java has no keywords
            try:
                return self._journal.written(self._plain.handle, message, bounded=True)
            finally:
                message.getDocument().remove(PLAIN)  # the next part of the command may go another way
        return self._written(message, bounded=self._names_few(message, command))

    def _written(self, message: Any, *, bounded: bool) -> Any:  # noqa: ANN401 - see above
        return self._journal.written(self._backend.handleMessage, message, bounded=bounded)

    def _narrow(self, operation: Any, message: Any, command: str) -> None:  # noqa: ANN401 - see above
        """Replace the filter by the `_id` alone, or by one that nothing has, where that comes to the same.

        Raises:
            DuplicateKeyError: an upsert would insert an `_id` that is there.

        """
        update = operation.get(_UPDATES[command]) if command in _UPDATES else None
        if isinstance(update, self._document) and any(
            ".$" in str(part.keySet()) for part in update.values() if isinstance(part, self._document)
        ):
            return  # it names the element that the filter found
        query, upsert = operation.get(_FILTERS[command]), bool(operation.get("upsert"))
        database = self._backend.resolveDatabase(message.getDatabaseName())
        stored = database.resolveCollection(message.getDocument().get(command), False)  # noqa: FBT003 - Java has no keywords
        if stored is None:
            return
        if self._listed(query):
            operation.put(_FILTERS[command], self._of_listed(stored, query))
            return
        by_id = self._document("_id", query.get("_id"))
        found = self._documents(stored).get(query.get("_id"))
        if found is None:
            if not upsert or self._begins_alike(query):
                operation.put(_FILTERS[command], by_id)
        elif self._matches(found, query):
            operation.put(_FILTERS[command], by_id)
        elif upsert:
            stored.addDocument(by_id)
        else:
            operation.put(_FILTERS[command], self._document("_id", f"\0{query.get('_id')}"))

    def _refusal(self, error: Any) -> Any:  # noqa: ANN401 - see above
        """Return the reply to an update that inserts a duplicate."""
        failed = self._document("index", 0)
        failed.put("errmsg", error.getMessageWithoutErrorCode())
        failed.put("code", error.getCode())
        failed.put("codeName", error.getCodeName())
        errors = self._list([failed])
        reply = self._document("n", 0)
        reply.put("nModified", 0)
        reply.put("writeErrors", errors)
        reply.put("ok", 1.0)
        return reply

    def _listed(self, query: Any) -> bool:  # noqa: ANN401 - see above
        """Return whether a filter asks for one of several `_id`s."""
        named = query.get("_id")
        return isinstance(named, self._document) and named.size() == 1 and named.containsKey("$in")

    def _of_listed(self, stored: Any, query: Any) -> Any:  # noqa: ANN401 - see above
        """Return the filter by those of the `_id`s whose documents match the whole filter."""
        matching, documents = self._list(), self._documents(stored)
        for each in query.get("_id").get("$in"):
            if isinstance(each, self._text):
                found = documents.get(each)
            else:
                found = next(iter(stored.handleQuery(self._document("_id", each))), None)
            if found is not None and self._matches(found, query):
                matching.add(each)
        return self._document("_id", self._document("$in", matching))

    def _documents(self, stored: Any) -> Any:  # noqa: ANN401 - see above
        """Return a collection's documents by their `_id`, which costs less than its index does."""
        return self._store.openMap(f"{DOCUMENTS}{stored.getFullName()}")

    def _begins_alike(self, query: Any) -> bool:  # noqa: ANN401 - see above
        """Return whether an upsert's new document takes only `_id` from the filter."""
        return all(
            isinstance(entry.getValue(), self._document)
            and str(entry.getValue().keySet().iterator().next()).startswith("$")
            and not str(entry.getKey()).startswith("$")
            for entry in query.entrySet()
            if str(entry.getKey()) != "_id"
        )
