import ipaddress

import pytest

from tidemill_core.origins import AllowedHosts, Origin, is_public, never_reachable


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://API.openai.com/v1", "https://api.openai.com"),
        ("https://api.openai.com.:443/", "https://api.openai.com"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://[0:0::1]:8000", "http://[::1]:8000"),
        ("http://vllm_server:80", "http://vllm_server"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_address_has_one_origin(address: str, origin: str) -> None:
    assert str(Origin.of(address)) == origin


@pytest.mark.parametrize(
    "address",
    [
        "http://0x7f000001", "http://2130706433", "http://127.1", "http://0177.0.0.1", "http://127.0.0.0x1",
        "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11", "http://bücher.example", "http://a b/",
        "http://a/\r\nX-Evil: 1",
        "http://a\t.example",
        "http://a\\@b/", "http://a..b", "http://-a", "http://", "https://[fe80::1%25eth0]", "https://[::1", "https://a:0",
        "https://a:99999", "file:///etc/passwd", "gopher://a", "https://" + "a" * 3000, "http://a%2eb", "http://a\x7f",
        "http://1.2.3.4.5", "http://256.1.1.1", "https://[v1.x]", "https://[::1].example", "https://[::1]x@a.example",
    ],
)  # fmt: skip
def test_a_spelling_that_programs_read_in_different_ways_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Origin.of(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "192.0.2.1",
        "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1", "fec0::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::", "2001:0:0:0:0:0:80ff:fffe", "::ffff:0:127.0.0.1", "2001:db8::1", "3fff::1",
        "192.0.0.192", "::ffff:192.0.0.192", "168.63.129.16",
    ],
)  # fmt: skip
def test_an_inner_address_is_not_public_however_it_is_written(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_metadata_and_link_local_hosts_are_not_meant_as_targets() -> None:
    for host in ("169.254.169.254", "metadata.google.internal", "[fe80::1]", "[::]", "[::ffff:1.2.3.4]"):
        assert never_reachable(Origin.of(f"http://{host}/"))
    for host in ("127.0.0.1", "10.0.0.1", "localhost", "api.example"):
        assert not never_reachable(Origin.of(f"http://{host}/"))


def test_the_operator_allows_a_host_with_one_port_or_with_all() -> None:
    allowed = AllowedHosts.of(["localhost", "vllm.internal:8000", "[::1]:80", ""])

    for address in ("http://localhost:1", "https://localhost", "http://vllm.internal:8000/v1", "http://[::1]"):
        assert allowed.allow(Origin.of(address))
    for address in ("http://vllm.internal", "http://127.0.0.1", "http://[::1]:81", "http://localhost.evil.example"):
        assert not allowed.allow(Origin.of(address))


@pytest.mark.parametrize("entry", ["http://a", "a/b", "*", "user@a", "a:x", "10.0.0.0/8", "a b"])
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        AllowedHosts.of([entry])
