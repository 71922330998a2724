"""How a model's chat template has it call tools, and the calls in what it writes.

A format belongs to templates, which are known by the text that opens a call in them. Calls are found by transformers'
own parser of responses; what it finds and is no call stays text, as the model wrote it.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """A call is `opening`, an object with the tool's name and its arguments, and `closing`."""

    name: str
    opening: str
    closing: str
    between: str = "\n"
    arguments: str = "arguments"
    special: Mapping[str, int] = field(default_factory=dict)
    """Texts of it that are special tokens in the model's tokenizer, with these."""

    @classmethod
    def of(cls, template: str, special: Mapping[str, int]) -> "ToolFormat | None":
        """Return the format of a chat template; None if it does not show tools, or has them called otherwise.

        `special` are the special tokens of the model.
        """
        if not re.search(r"\btools\b", template):
            return None
        found = next((each for each in FORMATS if each.opening in template), None)
        if found is None:
            return None
        tags = (found.opening, found.closing)
        return replace(found, special={text: special[text] for text in tags if text in special})

    @property
    def without_special(self) -> "ToolFormat":
        """The same as text only, for a vocabulary that has no such tokens."""
        return replace(self, special={})

    def rule(self, text: str) -> str:
        """Return a text of the format as a grammar has it."""
        if not self.special:
            return json.dumps(text)
        parts = re.split("(" + "|".join(map(re.escape, self.special)) + ")", text)
        return " ".join(
            f"<[{self.special[each]}]>" if each in self.special else json.dumps(each) for each in parts if each
        )

    def before_arguments(self, tool: str) -> str:
        """Return what is written between `opening` and the arguments."""
        return f'\n{{"name": {json.dumps(tool)}, "{self.arguments}": '

    @property
    def after_arguments(self) -> str:
        """What is written behind the arguments."""
        return f"}}\n{self.closing}"


FORMATS = (ToolFormat(name="hermes", opening="<tool_call>", closing="</tool_call>"),)
"""Hermes' is that of Qwen 2.5 and 3, SmolLM2 and 3, Granite and many others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A whole call, or with `cut` what there is of the last one; `arguments` are JSON unless it was cut."""

    id: str
    name: str
    arguments: str
    cut: bool = False


class ToolCallReader:
    """Finds the calls in a text that grows."""

    def __init__(self, how: ToolFormat, *, allowed: Collection[str], single: bool) -> None:
        """A call of another tool than `allowed` stays text; with `single` nothing is read after the first."""
        from transformers.utils.chat_parsing import ResponseParser  # noqa: PLC0415 - with transformers, in a thread

        self._how = how
        self._allowed = allowed
        self._single = single
        self._space = ""
        self.special = {token: text for text, token in how.special.items()}
        """Special tokens of the model that are text of a call."""
        self.calls = 0
        """How many were found."""
        text = {"content": "text", "content_args": {"strip": False}, "repeats": True}
        self._parser: Any = ResponseParser(
            {
                "start_anchor": how.opening,  # of a prompt, which is not given
                "fields": {
                    "said": text,
                    "call": {"open": how.opening, "close": how.closing, **text},
                },
            },
            prefix="",
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more is read."""
        return self._single and self.calls > 0

    def feed(self, text: str) -> list[str | Call]:
        """Return what this next text makes certain."""
        return self._read(self._parser.feed(text), cut=False)

    def end(self) -> list[str | Call]:
        """Return what was held back; a call that is not closed is a cut one."""
        _, events = self._parser.finalize()
        found = self._read(events, cut=True)
        return found if self.calls or not self._space else [*found, self._space]

    def _read(self, events: Sequence[dict[str, Any]], *, cut: bool) -> list[str | Call]:
        found: list[str | Call] = []
        for event in events:
            if self.ended:
                break
            if event["field"] == "said" and event["type"] == "region_chunk":
                found += self._said(event["text"])
            elif event["field"] == "call" and event["type"] == "region_close":
                if (call := self._call(event["value"], cut=cut)) is not None:
                    self.calls += 1
                    self._space = ""
                    found.append(call)
                elif not (cut and self._barely_begun(event["value"])):
                    found += self._said(f"{self._how.opening}{event['value']}{'' if cut else self._how.closing}")
        return found

    def _said(self, text: str) -> list[str | Call]:
        """Hold white space back: before a call, between two and behind the last one it says nothing."""
        text = self._space + text
        kept = text.rstrip()
        self._space = text[len(kept) :]
        return [kept] if kept else []

    def _call(self, text: str, *, cut: bool) -> Call | None:
        if cut:
            text = text.rpartition("\n<")[0] or text  # the closing text, which was cut itself
        try:
            value = json.loads(text, parse_constant=_refused)
        except (ValueError, RecursionError):
            return self._begun(text) if cut else None
        if not isinstance(value, dict) or value.get("name") not in self._allowed:
            return None
        arguments = value.get(self._how.arguments, {})
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return Call(id=new_call_id(), name=value["name"], arguments=written)

    def _barely_begun(self, text: str) -> bool:
        """Whether a call was cut before it said anything."""
        return any(self._how.before_arguments(name).startswith(text) for name in self._allowed)

    def _begun(self, text: str) -> Call | None:
        for name in self._allowed:
            before = self._how.before_arguments(name).lstrip()
            if text.lstrip().startswith(before):
                return Call(id=new_call_id(), name=name, arguments=text.lstrip()[len(before) :], cut=True)
        return None


def new_call_id() -> str:
    """Return an id for a call whose model, or server, gives it none."""
    return f"call_{uuid4().hex[:24]}"


def _refused(constant: str) -> None:
    message = f"{constant} is no JSON"
    raise ValueError(message)
