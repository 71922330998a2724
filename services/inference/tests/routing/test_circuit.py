"""Circuits: closed, open, half-open."""

from tidemill_inference.routing.domain.circuit import Circuit

OPEN_S = 30.0


def a_circuit(failures: int = 3) -> Circuit:
    return Circuit(threshold=failures, open_s=OPEN_S)


def opened() -> Circuit:
    circuit = a_circuit()
    for _ in range(3):
        assert circuit.admit("call", 0.0)
        circuit.failed("call", 0.0)
    return circuit


def test_failures_in_a_row_open_a_circuit() -> None:
    circuit = a_circuit()
    for _ in range(2):
        circuit.failed("call", 1.0)
    assert circuit.admit("call", 1.0)

    circuit.failed("call", 1.0)

    assert not circuit.admit("call", 1.0)
    assert circuit.rest_s(11.0) == OPEN_S - 10


def test_a_success_between_them_begins_the_count_anew() -> None:
    circuit = a_circuit()
    for _ in range(10):
        circuit.failed("call", 1.0)
        circuit.failed("call", 1.0)
        circuit.succeeded()

    assert not circuit.is_open


def test_after_its_time_one_call_passes_as_a_probe() -> None:
    circuit = opened()

    assert circuit.admit("probe", OPEN_S)
    assert not circuit.admit("other", OPEN_S)


def test_the_first_token_of_a_probe_closes_the_circuit_for_the_others() -> None:
    circuit = opened()
    assert circuit.admit("probe", OPEN_S)

    circuit.began()

    assert circuit.admit("other", OPEN_S)


def test_a_probe_that_breaks_off_after_its_first_token_opens_it_again() -> None:
    circuit = opened()
    assert circuit.admit("probe", OPEN_S)
    circuit.began()

    circuit.failed("probe", OPEN_S + 1)

    assert not circuit.admit("other", OPEN_S + 2)


def test_streams_that_always_break_off_open_a_circuit() -> None:
    circuit = a_circuit()
    for number in range(3):
        assert circuit.admit(number, 0.0)
        circuit.began()
        circuit.failed(number, 0.0)

    assert not circuit.admit("call", 0.0)


def test_a_failed_probe_opens_it_for_as_long_again() -> None:
    circuit = opened()
    assert circuit.admit("probe", OPEN_S)

    circuit.failed("probe", OPEN_S)

    assert not circuit.admit("other", 2 * OPEN_S - 1)
    assert circuit.admit("other", 2 * OPEN_S)


def test_a_call_that_began_before_does_not_keep_it_open_for_longer() -> None:
    circuit = opened()

    circuit.failed("earlier", OPEN_S - 1)

    assert circuit.admit("probe", OPEN_S)


def test_a_probe_whose_caller_left_is_followed_by_another() -> None:
    circuit = opened()
    assert circuit.admit("probe", OPEN_S)

    circuit.released("probe")

    assert circuit.admit("other", OPEN_S)
