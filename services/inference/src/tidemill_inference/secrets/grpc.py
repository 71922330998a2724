"""SecretService: message -> use case -> message."""

from tidemill.inference.v1 import secret_pb2, secret_service_pb2_grpc
from tidemill.inference.v1 import secret_service_pb2 as pb
from tidemill_inference.secrets.crud import SecretCrud
from tidemill_inference.secrets.domain.secret import Secret
from tidemill_inference.secrets.messages import secret_message
from tidemill_inference.secrets.ports import Operators, Secrets
from tidemill_kit.grpc.server import current_caller, page_of, write_of


class GrpcSecretService(secret_service_pb2_grpc.SecretServiceServicer):
    """Serves secrets; errors are mapped by the kit's interceptor."""

    def __init__(self, secrets: Secrets, crud: SecretCrud, operators: Operators) -> None:
        self._secrets = secrets
        self._crud = crud
        self._operators = operators

    async def SetSecret(self, request: pb.SetSecretRequest, _context: object) -> pb.SetSecretResponse:
        """Set a secret."""
        compared = pb.SetSecretRequest()
        compared.CopyFrom(request)
        compared.value = self._crud.fingerprint(request.value)  # requests are kept by a digest, which could be guessed
        secret = await self._crud.set(
            current_caller(),
            request.secret.id,
            request.value,
            hosts=request.secret.hosts,
            labels=request.secret.labels,
            write=write_of(compared, etag=request.secret.etag),
        )
        return pb.SetSecretResponse(secret=await self._message(secret))

    async def ListSecrets(self, request: pb.ListSecretsRequest, _context: object) -> pb.ListSecretsResponse:
        """Return a page of secrets."""
        project = current_caller().project
        page = await self._secrets.list(project, page=page_of(request, filters={}))
        overridden = await self._operators.among(project, [secret.id for secret in page.items])
        return pb.ListSecretsResponse(
            secrets=[secret_message(secret, overridden) for secret in page.items],
            next_page_token=page.next_token,
        )

    async def DeleteSecret(self, request: pb.DeleteSecretRequest, _context: object) -> pb.DeleteSecretResponse:
        """Delete a secret."""
        secret = await self._crud.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteSecretResponse(secret=await self._message(secret))

    async def _message(self, secret: Secret) -> secret_pb2.Secret:
        return secret_message(secret, await self._operators.among(secret.project, [secret.id]))
