"""How calls and wake-ups come in."""
