"""The identity provider that vouches for people."""

from tidemill_monitor.access.domain.tokens import Identity
from tidemill_monitor.errors import LoginNotConfigured


class NoIdentityProvider:
    """Implements `ports.IdentityProvider` where there is none."""

    async def identify(self, _token: str, /) -> Identity:
        """See `IdentityProvider.identify`."""
        raise LoginNotConfigured
