"""What a model has memorised, in words: of a run, and of the version that it made."""

from tidemill.trainer.v1.model_pb2 import Memorisation


def memorised_in_words(found: Memorisation) -> dict[str, str]:
    """Return what a model has memorised, nothing where that was not measured."""
    facts: dict[str, str] = {}
    left_over = (
        f"{found.canaries} of {found.planted} measured: there was no time" if found.canaries < found.planted else ""
    )
    if found.canaries:
        said = "ALARM" if found.alarm else "no alarm"
        facts["canaries"] = (
            f"{said}: exposure {found.exposure:.2f} bits of {found.canaries}, {found.found} found (never seen: above "
            f"{found.threshold:.2f} in 1 % of cases)"
        )
        facts["by repeats"] = "; ".join(
            f"{each.repeats} x: {each.exposure:.2f} bits, {each.found} of {each.canaries} found"
            for each in found.groups
        )
    if left_over:
        facts["canaries"] = "; ".join(filter(None, [facts.get("canaries"), left_over]))
    if found.HasField("extraction"):
        part = found.extraction
        facts["extracted"] = f"{part.extracted} of {part.examples} examples, {part.extracted_by_base} by the base"
    return facts
