"""What the pieces of an answer come to, by candidate."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from statistics import fmean

from tidemill_inference.engines.ports import Piece, ToolCallPiece
from tidemill_inference.generation.domain.content import Candidate, Message, Part, Role, TokenLogprob, ToolCall

Pieces = Iterable[Piece | ToolCallPiece]


@dataclass(slots=True, kw_only=True)
class Draft:
    """One candidate, put together."""

    text: str = ""
    reasoning: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether the model said nothing, and called nothing."""
        return not self.text.strip() and not self.calls

    @property
    def unranked(self) -> bool:
        """Whether nothing says how likely its text is."""
        return bool(self.text) and not self.logprobs

    @property
    def likelihood(self) -> float:
        """The mean log probability of its tokens; of one without any the least."""
        return fmean(each.logprob for each in self.logprobs) if self.logprobs else -inf


def drafts_of(pieces: Pieces, *, candidates: int) -> tuple[Draft, ...]:
    """Return what each candidate comes to."""
    said: list[list[Piece]] = [[] for _ in range(candidates)]
    called: list[dict[int, list[ToolCallPiece]]] = [{} for _ in range(candidates)]
    for piece in pieces:
        if isinstance(piece, ToolCallPiece):
            called[piece.candidate].setdefault(piece.index, []).append(piece)
        else:
            said[piece.candidate].append(piece)
    return tuple(
        Draft(
            text="".join(piece.text for piece in texts),
            reasoning="".join(piece.reasoning for piece in texts),
            logprobs=tuple(each for piece in texts for each in piece.logprobs),
            calls=[_call(of_call) for _, of_call in sorted(calls.items())],
        )
        for texts, calls in zip(said, called, strict=True)
    )


def likeliest(drafts: Sequence[Draft], number: int) -> Sequence[int]:
    """Return which are given of more drafts than that, the likeliest first; else all in their order."""
    if len(drafts) <= number:
        return range(len(drafts))
    return sorted(range(len(drafts)), key=lambda each: drafts[each].likelihood, reverse=True)[:number]


def joined(pieces: Pieces) -> Iterator[Piece | ToolCallPiece]:
    """Yield as few pieces as say the same in the same order: a slow reader gets what it missed at once."""
    waiting: list[Piece] = []
    for piece in pieces:
        goes_on = isinstance(piece, Piece) and (
            not waiting
            or (waiting[0].candidate == piece.candidate and bool(waiting[0].reasoning) is bool(piece.reasoning))
        )
        if not goes_on:
            yield from _one(waiting)
            waiting = []
        if isinstance(piece, Piece):
            waiting.append(piece)
        else:
            yield piece
    yield from _one(waiting)


def pieces_of(output: Sequence[Message], alternatives: Sequence[Candidate]) -> Iterator[Piece | ToolCallPiece]:
    """Yield the pieces that come to a whole answer, one candidate after the other."""
    for candidate, messages in enumerate((output, *(each.output for each in alternatives))):
        for message in messages:
            yield from _spoken(message, candidate)


def message_of(draft: Draft, text: Part) -> Message:
    """Return what a model said, with the text as this part has it; none where it only called tools."""
    thought = [Part(reasoning=draft.reasoning)] if draft.reasoning else []
    said = [text] if draft.text or not draft.calls else []
    return Message(role=Role.ASSISTANT, parts=(*thought, *said, *(Part(tool_call=call) for call in draft.calls)))


def _spoken(message: Message, candidate: int) -> Iterator[Piece | ToolCallPiece]:
    texts = [said for part in message.parts if (said := part.spoken) is not None]
    if message.reasoning:
        yield Piece(reasoning=message.reasoning, candidate=candidate)
    if texts:
        yield Piece(text="\n".join(texts), candidate=candidate)
    for index, call in enumerate(message.tool_calls):
        yield ToolCallPiece(index=index, candidate=candidate, id=call.id, name=call.name, arguments=call.arguments_json)


def _call(pieces: Sequence[ToolCallPiece]) -> ToolCall:
    return ToolCall(
        id=next((each.id for each in pieces if each.id), ""),
        name=next((each.name for each in pieces if each.name), ""),
        arguments_json="".join(each.arguments for each in pieces),
    )


def _one(pieces: Sequence[Piece]) -> Iterator[Piece]:
    if len(pieces) == 1:
        yield pieces[0]
    elif pieces:
        yield replace(
            pieces[0],
            text="".join(each.text for each in pieces),
            reasoning="".join(each.reasoning for each in pieces),
            logprobs=tuple(logprob for each in pieces for logprob in each.logprobs),
        )
