"""`/.well-known/`: the public keys by which services verify tokens, where OpenID Connect discovery finds them."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_CACHE = {"cache-control": "public, max-age=60"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WellKnown:
    """Serves what there is to know about this issuer; it is public."""

    issuer: str
    keys: Mapping[str, object]
    """A JSON Web Key Set (RFC 7517) without private parts."""
    algorithms: tuple[str, ...]

    def routes(self) -> list[Route]:
        """Return what is served; without an issuer there are no keys, and nothing to discover."""
        if not self.issuer:
            return []
        return [
            Route("/.well-known/jwks.json", self.jwks, methods=["GET"]),
            Route("/.well-known/openid-configuration", self.configuration, methods=["GET"]),
        ]

    async def jwks(self, _request: Request) -> Response:
        """Return the public keys."""
        return JSONResponse(dict(self.keys), headers=_CACHE)

    async def configuration(self, _request: Request) -> Response:
        """Return the issuer and where its keys are (of OpenID Connect Discovery, what services read)."""
        found = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/.well-known/jwks.json",
            "id_token_signing_alg_values_supported": list(self.algorithms),
        }
        return JSONResponse(found, headers=_CACHE)
