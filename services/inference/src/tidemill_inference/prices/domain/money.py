"""Money: decimals where people read and write it, whole billionths of the currency where it is counted."""

from decimal import ROUND_CEILING, Decimal, InvalidOperation

NANOS = Decimal(10**9)
MAX_AMOUNT = Decimal(10**9)
_MAX_LENGTH = 32


def nanos_of(text: str) -> Decimal:
    """Return a decimal in billionths of the currency; "" is 0.

    Raises:
        ValueError: it is no decimal of 0 to a billion.

    """
    try:
        amount = Decimal(text or "0") if len(text) <= _MAX_LENGTH else Decimal(-1)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 <= amount <= MAX_AMOUNT):
        message = f'is {text[:_MAX_LENGTH]!r}; use a decimal of 0 to {MAX_AMOUNT}, such as "2.50"'
        raise ValueError(message)
    return amount * NANOS


def whole(nanos: Decimal) -> int:
    """Return whole billionths, rounded up: what is counted is never less than what was used."""
    return int(nanos.to_integral_value(rounding=ROUND_CEILING))


def decimal_of(nanos: int) -> str:
    """Return billionths as a decimal of the currency."""
    text = f"{Decimal(nanos) / NANOS:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
