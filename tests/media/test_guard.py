"""backend.media.guard: which addresses may be connected to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from backend.errors import MediaForbidden
from backend.media.guard import Guard, inside_reason, resolve_host

LS = "http://ls.example:8080"


def names(**table: Sequence[str]) -> Guard:
    return Guard(LS, ("allowed", "port:81", "10.1.0.0/16", "[fd00::5]"), fake(table))


def fake(table: dict[str, Sequence[str]]):  # type: ignore[no-untyped-def]
    return lambda host, port: list(table.get(host.replace(".", "_"), ()))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:1::1",
    ],
)  # fmt: skip
def test_inside(address: str) -> None:
    assert inside_reason(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.32.0.1",
        "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1",
    ],
)  # fmt: skip
def test_outside(address: str) -> None:
    assert inside_reason(ipaddress.ip_address(address)) is None


def test_one_inside_answer_among_several_refuses_the_name() -> None:
    guard = names(mixed=("1.1.1.1", "127.0.0.1"))
    with pytest.raises(MediaForbidden, match=r"mixed:80 leads to 127\.0\.0\.1") as caught:
        guard.checked_addresses("mixed", 80)
    assert "mixed:80 to ALLOWED_HOSTS" in caught.value.remedy


@pytest.mark.parametrize(
    ("host", "port", "answers"),
    [
        pytest.param("ls.example", 8080, ("127.0.0.1",), id="Label Studio"),
        pytest.param("LS.example.", 8080, ("127.0.0.1",), id="Label Studio, other spelling"),
        pytest.param("allowed", 1234, ("10.0.0.1",), id="name, any port"),
        pytest.param("port", 81, ("10.0.0.1",), id="name and port"),
        pytest.param("other", 80, ("10.1.2.3",), id="network"),
        pytest.param("six", 80, ("fd00::5",), id="address"),
        pytest.param("public", 80, ("1.1.1.1", "2606:4700:4700::1111"), id="public"),
    ],
)
def test_allowed(host: str, port: int, answers: Sequence[str]) -> None:
    table = {host.lower().rstrip(".").replace(".", "_"): answers}
    assert names(**table).checked_addresses(host, port) == list(answers)


@pytest.mark.parametrize(
    ("host", "port", "answer"),
    [
        pytest.param("ls.example", 6379, "127.0.0.1", id="Label Studio's host, another port"),
        pytest.param("port", 80, "10.0.0.1", id="allowed name, another port"),
        pytest.param("allowed.evil", 80, "10.0.0.1", id="longer name"),
        pytest.param("other", 80, "10.2.0.1", id="beside the network"),
    ],
)
def test_exceptions_are_exact(host: str, port: int, answer: str) -> None:
    with pytest.raises(MediaForbidden):
        names(**{host.replace(".", "_"): [answer]}).checked_addresses(host, port)


def test_unknown_name_is_an_os_error() -> None:
    with pytest.raises(OSError, match="no address"):
        names().checked_addresses("nobody", 80)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1", "0"])
def test_numbers_in_disguise_are_seen_through_by_the_systems_resolver(host: str) -> None:
    with pytest.raises(MediaForbidden):
        Guard(LS, (), resolve_host).checked_addresses(host, 80)


@pytest.mark.parametrize("host", ["a" * 64, ".", "a..b", "é" * 80])
def test_impossible_names_are_os_errors(host: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - any of the resolver's
        Guard(LS, (), resolve_host).checked_addresses(host, 80)
