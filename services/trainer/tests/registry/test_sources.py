import pytest

from tidemill_core.errors import InvalidInput
from tidemill_trainer.errors import SecretGiven
from tidemill_trainer.registry.domain.sources import HuggingFaceSource, OpenAiSource

URL = "https://api.openai.com/v1"


@pytest.mark.parametrize("key", ["sk-proj-4f9aA8", "OpenAI_Key", "Bearer abc", "a" * 40])
def test_a_literal_key_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(SecretGiven) as refused:
        OpenAiSource(model="gpt", base_url=URL, api_key_secret=key)

    assert key not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["https://sk-1234@api.openai.com/v1", "https://api.openai.com/v1?api_key=sk-1234", "https://h/#sk-1234"]
)
def test_a_key_in_the_address_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        OpenAiSource(model="gpt", base_url=address)

    assert "sk-1234" not in str(refused.value)


@pytest.mark.parametrize("address", ["", "api.openai.com/v1", "file:///etc/passwd", "https://", "http://[::1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="base_url"):
        OpenAiSource(model="gpt", base_url=address)


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest", "http://metadata.google.internal/", "http://0x7f000001/", "http://127.1/v1",
        "http://\uff11\uff12\uff17.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://a/\r\nX: 1", "https://a b/", "http://[::]/",
    ],
)  # fmt: skip
def test_an_address_that_is_read_in_two_ways_or_belongs_to_the_network_is_not_imported(address: str) -> None:
    source = OpenAiSource(model="gpt", base_url=address)  # versions from before can be read

    with pytest.raises(InvalidInput, match="base_url"):
        source.check_address()


def test_another_address_is_another_version_and_another_secret_is_not() -> None:
    source = OpenAiSource(model="gpt", base_url=URL, api_key_secret="A")  # noqa: S106 - the name of a secret

    assert source.key == OpenAiSource(model="gpt", base_url=f"{URL}/", api_key_secret="B").key  # noqa: S106 - ditto
    assert source.key != OpenAiSource(model="gpt", base_url="https://elsewhere.example/v1").key
    assert source.key != OpenAiSource(model="gpt-mini", base_url=URL).key


@pytest.mark.parametrize("repository", ["", "a/b/c", "../x", "a/../b", "a/b?x", "https://hub/a/b", "-a/b"])
def test_a_repository_that_would_change_the_address_is_refused(repository: str) -> None:
    with pytest.raises(InvalidInput, match="repository"):
        HuggingFaceSource(repository=repository)


def test_a_full_commit_needs_no_asking() -> None:
    commit = "12fd25f7" * 5

    assert HuggingFaceSource(repository="a/b", revision=commit).commit == commit
    assert HuggingFaceSource(repository="a/b", revision="12fd25f7").commit == ""
