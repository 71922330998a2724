"""Where prices live, and what is called when they change."""

from collections.abc import Callable

from tidemill_core.application import Aggregates
from tidemill_inference.prices.domain.price import Price

Prices = Aggregates[Price]

Changed = Callable[[str], None]
"""Called with the project whose prices changed."""
