"""A network backend that refuses to connect to addresses inside.

The name is resolved here, every answer is checked, and the connection goes to an address
that was checked: a name cannot answer differently between check and use. TLS still
verifies the host name, because the pool above knows it.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from backend.errors import MediaForbidden
from backend.media.address import origin_of

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]
"""Addresses, as text, of a host name and port."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")
# Inside by their use, whatever the ipaddress module of this Python makes of them.
_RESERVED: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's metadata service, public by its number
        "192.0.0.0/24",  # Oracle's metadata service
        "64:ff9b:1::/48",  # NAT64 within a site
        "2001::/23",  # Teredo and other tunnels
        "3fff::/20",
        "5f00::/16",
    )
)


def resolve_host(host: str, port: int) -> list[str]:
    """Addresses the system knows for a host, in the order it prefers. Raises: OSError."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def inside_reason(address: IPAddress) -> str | None:
    """Why an address is not on the public network, None where it is."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = _embedded_v4(address)
        if embedded is not None:
            reason = inside_reason(embedded)
            return f"{reason}, as {embedded} inside an IPv6 address" if reason else None
        if address.is_site_local:
            return "a site-local address"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address (cloud metadata lives there)"
    if address.is_multicast:
        return "a multicast address"
    if not address.is_global or any(address in network for network in _RESERVED):
        return "a private or reserved address"
    return None


def _embedded_v4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translating network would send this one to."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _V4_COMPATIBLE and int(address) > 1:  # :: and ::1 are addresses of their own
        return ipaddress.IPv4Address(int(address))
    return None


class Guard:
    """Decides which addresses may be connected to.

    label_studio_url: its host and port are always allowed.
    allowed_hosts: names, name:port, addresses or networks in CIDR form.
    resolve: name to addresses, the system's resolver unless given.
    """

    def __init__(
        self,
        label_studio_url: str,
        allowed_hosts: Sequence[str] = (),
        resolve: Resolver = resolve_host,
    ) -> None:
        self._label_studio = origin_of(label_studio_url)[1:]
        self._resolve = resolve
        self._networks: list[IPNetwork] = []
        self._names: set[tuple[str, int | None]] = set()
        for entry in allowed_hosts:
            network = _network(entry)
            if network is not None:
                self._networks.append(network)
            else:
                self._names.add(_name_and_port(entry))

    def checked_addresses(self, host: str, port: int) -> list[str]:
        """Addresses of host that may be connected to, all of them or none.

        Raises: MediaForbidden where one of them is inside; OSError where the name is unknown.
        """
        name = host.lower().strip("[]").rstrip(".")
        try:
            answers = self._resolve(name, port)
        except UnicodeError as error:  # a label that is empty or too long for a name
            raise OSError(f"{host} is not a host name: {error}") from None
        if not answers:
            raise OSError(f"{host} has no address")
        if self._trusts(name, port):
            return list(answers)
        for text in answers:
            address = ipaddress.ip_address(text)
            if any(address in network for network in self._networks):
                continue
            reason = inside_reason(address)
            if reason is not None:
                raise MediaForbidden(
                    f"{host}:{port} leads to {text}, {reason}; nothing is fetched there.",
                    f"If it is meant, add {name}:{port} to ALLOWED_HOSTS.",
                )
        return list(answers)

    def _trusts(self, name: str, port: int) -> bool:
        known = ((name, None), (name, port))
        return (name, port) == self._label_studio or any(entry in self._names for entry in known)


def _network(entry: str) -> IPNetwork | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _name_and_port(entry: str) -> tuple[str, int | None]:
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal():
        return name.lower().strip("[]").rstrip("."), int(port)
    return entry.lower().rstrip("."), None


_deadline: ContextVar[float | None] = ContextVar("media_deadline", default=None)


@contextmanager
def before(deadline: float) -> Iterator[None]:
    """Every read, write and connect inside ends before this time.monotonic() value.

    A timeout of a read alone never fires on a server that sends a byte a second.
    """
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def _remaining_s(timeout_s: float | None, late: type[Exception]) -> float | None:
    deadline = _deadline.get()
    if deadline is None:
        return timeout_s
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("the time for this transfer is over")
    return left if timeout_s is None else min(left, timeout_s)


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every step ends before the deadline of the thread that uses it."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _remaining_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _remaining_s(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _remaining_s(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, one after the other."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._guard.checked_addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"cannot resolve {host}: {error}") from error
        trouble: Exception = httpcore.ConnectError(f"no address of {host} answers")
        for position, address in enumerate(addresses):
            left = _remaining_s(timeout, httpcore.ConnectTimeout)
            share = None if left is None else left / (len(addresses) - position)
            try:
                stream = self._inner.connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
                continue
            return _TimedStream(stream)
        raise trouble

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise MediaForbidden(
            "Pictures are not fetched from unix sockets.", "Use an http or https address."
        )


class GuardedTransport(httpx.HTTPTransport):
    """httpx over a pool whose connections are all made by a GuardedBackend."""

    def __init__(self, guard: Guard, *, ssl_context: SSLContext, connections: int) -> None:
        super().__init__(verify=ssl_context, trust_env=False)
        self._pool.close()
        # httpx has no argument for it; the attribute is where its own proxies go as well.
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=5.0,
            network_backend=GuardedBackend(guard),
        )
