"""How calls and notify-ups come in."""
