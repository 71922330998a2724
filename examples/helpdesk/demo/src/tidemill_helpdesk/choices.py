"""The demo's users who ask again: they are shown a second answer, and choose between the two."""

import uuid
from dataclasses import dataclass

from rich.markup import escape

from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.ingest.v1.dataset_pb2 import DatasetVersion
from tidemill_cli.loop import read_loop
from tidemill_cli.output import progress, stdout
from tidemill_client.datasets import Datasets
from tidemill_client.reactions import Reactions
from tidemill_client.values import text_of
from tidemill_core.errors import DeadlineExceeded
from tidemill_helpdesk.patience import for_each, until
from tidemill_helpdesk.turn import MAX_CONCURRENT_QUESTIONS, Turn

CHOICES, THUMBS = "helpdesk_choices", "helpdesk_thumbs"
"""The datasets that choices and thumbs make."""
ASKED_TWICE = 28
FIRST, SECOND = 0, 1
_TEMPERATURE = 0.8
VERSION_WITHIN_S = 120.0
"""How long is waited for what choices or thumbs make: nothing else of the demo needs it."""


@dataclass(slots=True, kw_only=True)
class Choices:
    """Choices between two answers, and the datasets of choices and thumbs."""

    turn: Turn

    async def choose(self) -> None:
        """Ask some of the taught questions a second time, with some chance in it, and submit what is chosen."""
        counts = dict.fromkeys(("chosen", "ties", "alike"), 0)
        reactions = Reactions(self.turn.connection)
        with progress() as bar:
            asking = bar.add_task("asking again and choosing", total=ASKED_TWICE)

            async def one(number: int) -> None:
                answers = [await self.turn.ask_taught(number), await self._ask_again(number)]
                texts = [text_of(each) for each in answers]
                bar.advance(asking)
                if texts[FIRST].split() == texts[SECOND].split():
                    counts["alike"] += 1  # a user is not asked to choose between these
                    return
                better = choice_of(texts[FIRST], texts[SECOND], right=self.turn.taught[number].answer)
                chosen = FIRST if better is None else better
                rejected = SECOND if chosen is FIRST else FIRST
                await reactions.prefer(
                    answers[chosen].id, answers[rejected].id, tie=better is None, chosen_position=chosen + 1
                )
                counts["ties" if better is None else "chosen"] += 1

            await for_each(range(ASKED_TWICE), one, max_concurrent=MAX_CONCURRENT_QUESTIONS)
        self.turn.report.add("choices", asked_twice=ASKED_TWICE, **counts)
        stdout.print(
            f"   {ASKED_TWICE} questions asked twice: {counts['chosen']} answers chosen, {counts['ties']} ties, "
            f"{counts['alike']} alike"
        )

    async def examples(self) -> None:
        """Wait for the dataset versions that choices and thumbs make; say it in one line where there will be none."""
        await self._collect("choices", CHOICES, given="chosen")
        await self._collect("thumbs", THUMBS, given="given")

    async def _collect(self, section: str, dataset: str, *, given: str) -> None:
        """Wait for the version of a dataset, unless fewer were given than its rule needs."""
        report, needed = self.turn.report, read_loop(self.turn.example.loop).datasets[dataset].publish.new_examples
        found: DatasetVersion | str = f"{report.figures[section][given]} {section}, and its rule needs {needed}"
        if report.figures[section][given] >= needed:
            try:
                found = await self.version(dataset)
            except DeadlineExceeded:
                found = f"none within {VERSION_WITHIN_S:.0f} s: see `tidemill loop status helpdesk`"
        if isinstance(found, DatasetVersion):
            examples = found.train.examples + found.held_out.examples
            report.add(section, needed=needed, version=found.id, examples=examples)
            stdout.print(f"   {found.id}: {examples} examples of {section}")
        else:
            report.add(section, needed=needed, examples=0, without_version=found)
            stdout.print(f"   no version of {dataset}: {escape(found)}")

    async def _ask_again(self, number: int) -> Inference:
        request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.turn.connection.project}/again/{number}"))
        return await self.turn.ask_taught(
            number, request_id=request_id, sampling=Sampling(temperature=_TEMPERATURE, seed=number + 1)
        )

    async def version(self, dataset: str) -> DatasetVersion | str:
        """Wait for the first version, or for the reason why what was offered made none."""
        datasets = Datasets(self.turn.connection)

        async def decided() -> DatasetVersion | str | None:
            found = await datasets.get(dataset)
            if found.latest_version:
                return await datasets.version(dataset)
            return found.last_withheld.message if found.HasField("last_withheld") else None

        failure = f"no version of {dataset} was published"
        return await until(decided, failure, waiting=f"collecting {dataset}", limit_s=VERSION_WITHIN_S)


def choice_of(first: str, second: str, *, right: str) -> int | None:
    """Return which answer a user who knows the right one chooses: FIRST, SECOND, or None where neither is better."""
    scores = _likeness(first, right), _likeness(second, right)
    if scores[FIRST] == scores[SECOND]:
        return None
    return FIRST if scores[FIRST] > scores[SECOND] else SECOND


def _likeness(answer: str, right: str) -> float:
    """Return the share of words that two texts have in common (Dice)."""
    ours, theirs = set(answer.lower().split()), set(right.lower().split())
    return 2 * len(ours & theirs) / max(1, len(ours) + len(theirs))
