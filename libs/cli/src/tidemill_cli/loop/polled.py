"""Where sources fetch their documents from, in loop.yaml."""

from typing import Annotated

from pydantic import Field

from tidemill.ingest.v1.source_pb2 import GitOrigin, Polling, S3Origin
from tidemill_cli.loop.shapes import Declared, Duration, SecretName


class OriginSecret(Declared):
    """The name of a secret; ingest resolves its value."""

    secret: SecretName


class Polled(Declared):
    """What is taken of an origin, and when."""

    paths: Annotated[
        list[str],
        Field(max_length=32, description="patterns of what is taken, such as docs/*.md; * also stands for slashes"),
    ] = Field(default_factory=list)
    interval: Annotated[Duration | None, Field(description="time between two polls; left out, 15m")] = None
    max_deleted_share: Annotated[
        float,
        Field(
            ge=0, le=1, description="share of the known files that may be gone at once; 0 is 0.5, 1 lets all be deleted"
        ),
    ] = 0.0


class S3(Polled):
    """A bucket whose files become documents."""

    endpoint: Annotated[str, Field(description="scheme and host of the S3 server")]
    bucket: str
    prefix: str = ""
    region: Annotated[str, Field(description="left out, us-east-1")] = ""
    access_key: Annotated[str, Field(description="id of the access key; left out for public buckets")] = ""
    secret_key: OriginSecret | None = None


class Git(Polled):
    """A repository whose files become documents."""

    url: Annotated[str, Field(description="address of the repository, such as https://github.com/acme/handbook.git")]
    ref: Annotated[str, Field(description="branch or tag; left out, the default branch")] = ""
    username: Annotated[str, Field(description="user of the password; left out for public repositories")] = ""
    password: OriginSecret | None = None


def polling_of(s3: S3 | None, git: Git | None) -> Polling | None:
    """Return what a source is polled from; None where its documents are sent."""
    polled = s3 or git
    if polled is None:
        return None
    return Polling(
        s3=_bucket(s3) if s3 else None,
        git=_repository(git) if git else None,
        paths=polled.paths,
        interval_s=int(polled.interval.total_seconds()) if polled.interval else 0,
        max_deleted_share=polled.max_deleted_share,
    )


def _repository(git: Git) -> GitOrigin:
    secret = git.password.secret if git.password else ""
    return GitOrigin(url=git.url, ref=git.ref, username=git.username, secret=secret)


def _bucket(s3: S3) -> S3Origin:
    return S3Origin(
        endpoint=s3.endpoint,
        bucket=s3.bucket,
        prefix=s3.prefix,
        region=s3.region,
        access_key=s3.access_key,
        secret=s3.secret_key.secret if s3.secret_key else "",
    )
