"""How users are divided among arms, and how few of them move."""

from collections import Counter
from dataclasses import replace

from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.experiments.domain.plan import equal_shares
from tidemill_inference.experiments.domain.split import Split, SplitArm
from tidemill_inference.rollouts.domain.policy import StickyBy

USERS = [f"u{number}" for number in range(2000)]


def split(*weights: int, stopped: int | None = None, epoch: int = 0) -> Split:
    arms = tuple(
        SplitArm(
            name=f"arm{number}",
            weight=weight,
            configuration=Configuration.of(model=f"m@{number}", prompt="answer@1", retrieval=None, sampling=Sampling()),
            stopped=number == stopped,
        )
        for number, weight in enumerate(weights)
    )
    return Split(run="tone@1", baseline="b", arms=arms, epoch=epoch)


def arms_of(divided: Split) -> dict[str, str]:
    return {user: divided.arm_of(end_user=user, request_id="r").name for user in USERS}


def test_arms_have_their_share_of_users_each_of_whom_keeps_one() -> None:
    shares = Counter(arms_of(split(60, 30, 10)).values())

    assert abs(shares["arm0"] - 1200) < 70
    assert abs(shares["arm1"] - 600) < 65
    assert abs(shares["arm2"] - 200) < 45
    assert arms_of(split(60, 30, 10)) == arms_of(split(60, 30, 10))
    other = replace(split(60, 30, 10), run="tone@2")
    assert arms_of(other) != arms_of(split(60, 30, 10))


def test_where_weights_move_users_change_only_to_what_has_gained_and_no_more_than_it_has() -> None:
    before, after = arms_of(split(34, 33, 33)), arms_of(split(54, 33, 13))

    moved = [(before[user], after[user]) for user in USERS if before[user] != after[user]]

    assert {pair for pair in moved if pair[1] == "arm2"} == set()
    assert {pair[0] for pair in moved} <= {"arm1", "arm2"}
    assert 0.17 < sum(pair[0] == "arm2" for pair in moved) / len(USERS) < 0.23


def test_where_an_arm_stops_its_users_go_to_the_control_and_no_others_change() -> None:
    before, after = arms_of(split(34, 33, 33)), arms_of(split(34, 33, 33, stopped=2))

    assert {(before[user], after[user]) for user in USERS} == {
        ("arm0", "arm0"),
        ("arm1", "arm1"),
        ("arm2", "arm0"),
    }


def test_requests_without_a_user_are_divided_by_their_ids() -> None:
    by_request = replace(split(50, 50), sticky_by=StickyBy.REQUEST)
    for divided, user in ((split(50, 50), ""), (by_request, "u1")):
        found = Counter(divided.arm_of(end_user=user, request_id=f"r{number}").name for number in range(400))
        assert min(found.values()) > 150


def test_a_conversation_without_a_user_keeps_its_arm() -> None:
    divided = split(50, 50)
    arms = {
        conversation: {
            divided.choose(end_user="", request_id=f"r{number}", conversation=conversation).variant
            for number in range(20)
        }
        for conversation in USERS[:20]
    }

    assert {len(each) for each in arms.values()} == {1}
    assert set.union(*arms.values()) == {"arm0", "arm1"}


def test_equal_shares_add_up() -> None:
    assert [sum(equal_shares(number)) for number in range(2, 9)] == [100] * 7
    assert equal_shares(3) == (33, 33, 34)
