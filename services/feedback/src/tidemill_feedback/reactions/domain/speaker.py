"""Whose a reaction is: its user and rater come from the credential, unless its holder speaks for others."""

from collections.abc import Collection
from dataclasses import replace

from tidemill_core.application import PUBLISHER, Caller
from tidemill_core.rights import ACT_FOR_USERS, REVIEW_FEEDBACK, SpeaksForAnother, end_user_of, has_right
from tidemill_feedback.reactions.domain.feedback import ASKER, Feedback
from tidemill_feedback.reactions.domain.reaction import RATERS, Reaction


def said_by(caller: Caller, reaction: Reaction) -> Reaction:
    """Return the reaction with the user and the rater that the credential says.

    A caller with the right to review, who names no rater and no other user, is the reviewer.

    Raises:
        SpeaksForAnother: it names others.

    """
    if caller.via:
        return reaction
    rater, reviews = reaction.rater, has_right(caller, REVIEW_FEEDBACK)
    if rater not in ("", ASKER) and not reviews:
        raise SpeaksForAnother(field="rater", right=REVIEW_FEEDBACK, instead="leave it out")
    return replace(
        reaction,
        end_user=end_user_of(caller, reaction.end_user, field="end_user"),
        rater=rater or ("reviewer" if reviews and not has_right(caller, ACT_FOR_USERS) else ""),
    )


def trusted_raters(caller: Caller, trusted: Collection[str]) -> Collection[str]:
    """Return the raters whose reactions to answers to others count, of submitted records those `trusted`."""
    if caller.via == PUBLISHER:
        return trusted
    return [rater for rater in RATERS if rater != ASKER] if has_right(caller, REVIEW_FEEDBACK) else ()


def check_withdraws(caller: Caller, feedback: Feedback) -> None:
    """Let a caller take back its own reaction, or another's by the right with which that is given.

    Raises:
        SpeaksForAnother: it may not.

    """
    right = ACT_FOR_USERS if feedback.rater == ASKER else REVIEW_FEEDBACK
    own = feedback.rater == ASKER and feedback.end_user == caller.subject
    if not own and not has_right(caller, right):
        raise SpeaksForAnother(field="id", right=right, instead="withdraw your own feedback")
