"""The data plane as a Python object: one method per call of csrc/dataplane.h, under the same name.

Knows C structs and numpy; nothing of handshakes, of the event loop or of wgpy. Packets never come here:
threads move them in C without the interpreter's lock, and an eventfd says when `events` has something.
"""

import errno
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import Any, Self

import numpy as np

from ._dataplane import ffi, lib
from .errors import DeviceGone, TunError, check
from .records import (
    RECORD,
    Address,
    AddressLike,
    Aead,
    Endpoint,
    EndpointLike,
    Event,
    EventKind,
    Feature,
    Gate,
    IpAddress,
    IpNetwork,
    RecordArray,
)

SECOND = 1_000_000_000
REJECT_AFTER_TIME = 180 * SECOND
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
REKEY_AFTER_MESSAGES = 2**60
EVENTS_AT_ONCE = 16  # some milliseconds of handshakes: the event loop has others to serve
MAX_WORKERS: int = lib.DP_MAX_WORKERS


class DataPlane:
    """Moves packets between one TUN and one or two UDP sockets until `close`.

    Every method may be called from any thread while the workers run, `events` from one at a time. Peers are
    named by the number `peer_add` returned. All times are ns of CLOCK_BOOTTIME. A method that names a peer
    raises TunError with ENOENT when there is none.

    Args:
        queues: of one TUN, (read, write) descriptors for each pair of workers; they stay the caller's. The
            same descriptor twice where there is one queue; of several write is a detached one (tun.device).
        has_vnet_header: whether it was opened with IFF_VNET_HDR.
        mtu: of the interface, bytes.
        features: wanted; what the kernel refuses is missing from `features`.
        aead: which implementation; AUTO measures once and keeps the fastest.
        max_peers: at most 65536.
        reject_after_time: ns; tests shorten it.
        reject_after_messages, rekey_after_messages: likewise.

    Raises:
        DeviceGone: a queue is not open.
        TunError: ENOTSUP when the AEAD is not here, EINVAL for limits out of range, ENOMEM.
    """

    def __init__(
        self,
        queues: Sequence[tuple[int, int]],
        *,
        has_vnet_header: bool,
        mtu: int,
        features: Feature = Feature.ALL,
        aead: Aead = Aead.AUTO,
        max_peers: int = 65536,
        reject_after_time: int = REJECT_AFTER_TIME,
        reject_after_messages: int = REJECT_AFTER_MESSAGES,
        rekey_after_messages: int = REKEY_AFTER_MESSAGES,
    ) -> None:
        self._threads: list[threading.Thread] = []
        self._dp: Any = None
        config = ffi.new("struct dp_config *")
        if len(queues) > MAX_WORKERS:
            raise TunError(errno.EINVAL, f"more than {MAX_WORKERS} pairs of workers")
        config.workers = self._workers = len(queues)
        for number, (read_fd, write_fd) in enumerate(queues):
            config.queues[number].read_fd = read_fd
            config.queues[number].write_fd = write_fd
        config.tun_has_vnet_header = has_vnet_header
        config.mtu = mtu
        config.features = features
        config.aead = aead
        config.max_peers = max_peers
        config.reject_after_time_ns = reject_after_time
        config.reject_after_messages = reject_after_messages
        config.rekey_after_messages = rekey_after_messages
        error = ffi.new("int *")
        self._dp = lib.dp_new(config, error)
        check(error[0], "start the data plane")
        memory = ffi.buffer(lib.dp_records(self._dp), max_peers * RECORD.itemsize)
        self._records: RecordArray = np.frombuffer(memory, dtype=RECORD)
        self._records.flags.writeable = False
        self._events = ffi.new("struct dp_event[]", EVENTS_AT_ONCE)
        self._text = ffi.new("char[]", 1024)  # enough for most peers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # configure

    @property
    def features(self) -> Feature:
        """What is really in use."""
        return Feature(lib.dp_features(self._handle))

    @property
    def aead_name(self) -> str:
        """The implementation in use, for status pages."""
        return ffi.string(lib.dp_aead_name(self._handle)).decode()

    def set_mtu(self, mtu: int) -> None:
        """Follow the interface's MTU: padding is capped at it."""
        lib.dp_set_mtu(self._handle, mtu)

    def set_identity(self, public_key: bytes | None) -> None:
        """Set our own static public key, 32 bytes; None: every handshake message is dropped."""
        key = ffi.NULL if public_key is None else ffi.from_buffer("uint8_t[32]", public_key)
        check(lib.dp_set_identity(self._handle, key), "set the identity")

    def set_sockets(self, *pairs: tuple[int, int]) -> None:
        """Use these bound UDP sockets from now on; the old ones may be closed when this returns.

        Args:
            pairs: (IPv4, IPv6), -1 = absent, one pair for each worker; where there are fewer, the other
                workers only send, through these. None at all: the network is left.

        Raises:
            TunError: EAFNOSUPPORT, ENOTSOCK, or EINVAL for more pairs than workers; the old sockets stay.
        """
        out = ffi.new("struct dp_socket_pair[]", len(pairs))
        for number, (fd4, fd6) in enumerate(pairs):
            out[number].fd4 = fd4
            out[number].fd6 = fd6
        check(lib.dp_set_sockets(self._handle, out, len(pairs)), "use the UDP sockets")

    def peer_add(self) -> int:
        """Return the number of a new peer. Raises TunError with ENOSPC when there are too many."""
        return check(lib.dp_peer_add(self._handle), "add a peer")

    def peer_remove(self, peer: int) -> None:
        """Forget a peer; nothing is sent or accepted for it any more when this returns."""
        check(lib.dp_peer_remove(self._handle, peer), "remove a peer")

    def peer_set_endpoint(self, peer: int, endpoint: EndpointLike) -> None:
        """Send the peer's packets there; local None lets the kernel choose our address."""
        check(lib.dp_peer_set_endpoint(self._handle, peer, _endpoint_to_c(endpoint)), "set an endpoint")

    def peer_endpoint(self, peer: int) -> Endpoint | None:
        """Return where the peer is now, roaming included; None if not known (or no such peer)."""
        out = ffi.new("struct dp_endpoint *")
        result = lib.dp_peer_endpoint(self._handle, peer, out)
        if result == -errno.ENOENT:
            return None
        check(result, "read an endpoint")
        return _endpoint_of_c(out)

    def peer_clear_source(self, peer: int) -> None:
        """Forget the cached local address: the kernel shall choose again."""
        check(lib.dp_peer_clear_source(self._handle, peer), "clear a source address")

    def peer_set_gate(self, peer: int, gate: Gate) -> None:
        """Set which keypairs carry the peer's user packets; what now may leave does."""
        out = ffi.new("struct dp_gate *")
        out.user_kinds = gate.user_kinds
        out.user_psk_max_age_ns = gate.user_psk_max_age
        if gate.control_local and gate.control_remote:
            _address_to_c(gate.control_local, out.control_local)
            _address_to_c(gate.control_remote, out.control_remote)
        check(lib.dp_peer_set_gate(self._handle, peer, out), "set a gate")

    def allowed_ip_insert(self, peer: int, network: IpNetwork) -> None:
        """Give the prefix to the peer; from another peer it moves."""
        prefix = _ip_to_c(network.network_address)
        check(lib.dp_allowed_ip_insert(self._handle, peer, prefix, network.prefixlen), "insert an allowed IP")

    def allowed_ip_remove(self, peer: int, network: IpNetwork) -> None:
        """Take the prefix back if it is exactly this peer's."""
        prefix = _ip_to_c(network.network_address)
        check(lib.dp_allowed_ip_remove(self._handle, peer, prefix, network.prefixlen), "remove an allowed IP")

    def allowed_ips_clear(self, peer: int) -> None:
        """Take all prefixes of the peer back."""
        check(lib.dp_allowed_ips_clear(self._handle, peer), "clear the allowed IPs")

    def allowed_ips(self, peer: int) -> list[IpNetwork]:
        """Return the peer's prefixes in the order of their insertion."""
        size = 16
        while True:
            out = ffi.new("struct dp_allowed_ip[]", size)
            count = check(lib.dp_allowed_ips(self._handle, peer, out, size), "list the allowed IPs")
            if count <= size:
                return [ip_network((_ip_of_c(out[i].prefix), out[i].bits)) for i in range(count)]
            size = count

    def peer_text(self, peer: int) -> tuple[str, tuple[str, ...]]:
        """Return the endpoint, empty if not known, and the prefixes in their order, as UAPI writes them."""
        out = self._text
        while (length := self._peer_text(peer, out)) > len(out):
            out = ffi.new("char[]", length)
        endpoint, *prefixes = bytes(ffi.buffer(out, length)).decode("ascii").splitlines()
        return endpoint, tuple(prefixes)

    def _peer_text(self, peer: int, out: Any) -> int:  # noqa: ANN401  (a char[] of cffi's)
        return check(lib.dp_peer_text(self._handle, peer, out, len(out)), "show a peer")

    def allowed_ip_lookup(self, ip: IpAddress) -> int | None:
        """Return the peer of the longest prefix that holds this address."""
        peer = ffi.new("uint32_t *")
        result = lib.dp_allowed_ip_lookup(self._handle, _ip_to_c(ip), peer)
        if result == -errno.ENOENT:
            return None
        check(result, "look an address up")
        return int(peer[0])

    def index_reserve(self, peer: int) -> int:
        """Return a new random index for a handshake of this peer."""
        out = ffi.new("uint32_t *")
        check(lib.dp_index_reserve(self._handle, peer, out), "reserve an index")
        return int(out[0])

    def index_release(self, index: int) -> None:
        """Give a handshake's index back; ENOENT if it is not reserved or already a keypair's."""
        check(lib.dp_index_release(self._handle, index), "release an index")

    def keypair_install(
        self,
        peer: int,
        *,
        send_key: bytes | bytearray,
        receive_key: bytes | bytearray,
        local_index: int,
        remote_index: int,
        birthdate: int,
        is_initiator: bool,
        psk_kind: int = 0,
        psk_birthdate: int = 0,
    ) -> None:
        """Put a new session into its slot: an initiator's becomes current, a responder's next.

        Args:
            peer: whose session it is.
            send_key: 32 bytes; copied, the caller wipes its own.
            receive_key: likewise.
            local_index: from index_reserve for this peer.
            remote_index: what the other side chose.
            birthdate: ns; REJECT_AFTER_TIME counts from it.
            is_initiator: whether we sent the initiation.
            psk_kind: DP_PSK_*, for the gate.
            psk_birthdate: ns when the preshared key was agreed, 0 = no age.

        Raises:
            TunError: ENOENT when the index is not reserved for this peer.
        """
        with _secret("struct dp_keypair_config *") as config:
            for name, key in (("send_key", send_key), ("receive_key", receive_key)):
                ffi.memmove(getattr(config, name), ffi.from_buffer("uint8_t[32]", key), 32)
            config.local_index = local_index
            config.remote_index = remote_index
            config.birthdate_ns = birthdate
            config.psk_birthdate_ns = psk_birthdate
            config.is_initiator = is_initiator
            config.psk_kind = psk_kind
            check(lib.dp_keypair_install(self._handle, peer, config), "install a keypair")

    def keypairs_clear(self, peer: int) -> None:
        """Wipe every transport key of the peer."""
        check(lib.dp_keypairs_clear(self._handle, peer), "clear the keypairs")

    def keypairs_stop_sending(self, peer: int) -> None:
        """Let the peer's keypairs only receive from now on."""
        check(lib.dp_keypairs_stop_sending(self._handle, peer), "stop sending")

    # messages

    def send_handshake(self, peer: int, message: bytes) -> None:
        """Send a handshake message to the peer's endpoint.

        Raises:
            TunError: EDESTADDRREQ without an endpoint, ENETDOWN without a socket, or the kernel's refusal.
        """
        data = ffi.from_buffer("uint8_t[]", message)
        check(lib.dp_send_handshake(self._handle, peer, data, len(message)), "send a handshake message")

    def peer_authenticated(self, peer: int, source: EndpointLike, length: int) -> None:
        """Roam to the source of a handshake message that verified, and count its bytes."""
        endpoint = _endpoint_to_c(source)
        check(
            lib.dp_peer_authenticated(self._handle, peer, endpoint, length), "note an authenticated message"
        )

    def peer_flush(self, peer: int, *, keepalive: bool = False) -> None:
        """Send what is staged; with keepalive an empty packet where nothing was sent."""
        check(lib.dp_peer_flush(self._handle, peer, keepalive), "flush a peer")

    def peer_drop_staged(self, peer: int) -> None:
        """Forget the packets that wait for a session."""
        check(lib.dp_peer_drop_staged(self._handle, peer), "drop staged packets")

    # run

    @property
    def workers(self) -> int:
        """How many outbound and as many inbound workers there are."""
        return self._workers

    def run_outbound(self, worker: int = 0) -> None:
        """Move packets from the TUN to the sockets until `stop`; blocks without the interpreter's lock.

        Raises:
            DeviceGone: the TUN was deleted or closed.
        """
        check(lib.dp_run_outbound(self._handle, worker), "read the TUN")

    def run_inbound(self, worker: int = 0) -> None:
        """Move packets from the sockets to the TUN until `stop`; blocks without the interpreter's lock.

        Raises:
            DeviceGone: the TUN was deleted, or a socket closed under it.
        """
        check(lib.dp_run_inbound(self._handle, worker), "receive packets")

    def start(self) -> None:
        """Run all workers in threads of their own; a device that is gone shows as an event."""
        for worker in range(self._workers):
            for name, run in (("wgpy-out", self.run_outbound), ("wgpy-in", self.run_inbound)):
                thread = threading.Thread(
                    target=_until_gone, args=(run, worker), name=f"{name}-{worker}", daemon=True
                )
                thread.start()
                self._threads.append(thread)

    def stop(self) -> None:
        """End all runs and wait for the threads of `start`; there is no starting again."""
        lib.dp_stop(self._handle)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def close(self) -> None:
        """Stop, wipe every key and free everything; `records` must not be used afterwards."""
        if not self._dp:
            return
        self.stop()
        dp, self._dp = self._dp, None
        lib.dp_free(dp)

    # observe

    @property
    def records(self) -> RecordArray:
        """All peers' counters and stamps by peer number: a read-only view of live memory, good until `close`.

        The fields are struct dp_record's. Rows of numbers never given out are zero and cost no memory: index
        with the numbers in use rather than scan.
        """
        if not self._dp:
            raise DeviceGone(errno.EBADF, "the data plane is closed")
        return self._records

    @property
    def drops(self) -> Mapping[str, int]:
        """How many datagrams and frames went no further, by reason."""
        counters = lib.dp_drops(self._handle)
        result = {}
        for number in range(lib.DP_DROP_COUNT):
            name = lib.dp_drop_name(number)
            if name:
                result[ffi.string(name).decode()] = int(counters[number])
        return result

    @property
    def event_fd(self) -> int:
        """A descriptor that is readable while `events` has something."""
        return lib.dp_event_fd(self._handle)

    def events(self) -> list[Event]:
        """Take up to 16 waiting events; call again when woken again."""
        count = lib.dp_events(self._handle, self._events, EVENTS_AT_ONCE)
        return [_event_of_c(self._events[i]) for i in range(count)]

    @property
    def _handle(self) -> Any:  # noqa: ANN401  (a C pointer)
        if not self._dp:
            raise DeviceGone(errno.EBADF, "the data plane is closed")
        return self._dp


def _until_gone(run: Callable[[int], None], worker: int) -> None:
    try:
        run(worker)
    except DeviceGone:
        return  # the event ring says so


@contextmanager
def _secret(kind: str) -> Iterator[Any]:
    memory = ffi.new(kind)
    try:
        yield memory
    finally:
        view = ffi.buffer(memory)
        view[:] = bytes(len(view))


def _address_to_c(address: AddressLike, out: Any) -> None:  # noqa: ANN401
    packed = address.ip.packed
    out.family = socket.AF_INET if address.ip.version == 4 else socket.AF_INET6
    out.port = address.port
    out.scope_id = address.scope_id
    ffi.memmove(out.ip, packed, len(packed))


def _ip_to_c(ip: IpAddress) -> Any:  # noqa: ANN401
    out = ffi.new("struct dp_address *")
    _address_to_c(Address(ip, 0), out)
    return out


def _endpoint_to_c(endpoint: EndpointLike) -> Any:  # noqa: ANN401
    out = ffi.new("struct dp_endpoint *")
    _address_to_c(endpoint.remote, out.remote)
    if endpoint.local is not None:
        _address_to_c(Address(endpoint.local, 0), out.local)
        out.ifindex = endpoint.ifindex
    return out


def _ip_of_c(address: Any) -> IpAddress:  # noqa: ANN401
    length = 4 if address.family == socket.AF_INET else 16
    return ip_address(bytes(ffi.buffer(address.ip, length)))


def _endpoint_of_c(endpoint: Any) -> Endpoint:  # noqa: ANN401
    remote = Address(_ip_of_c(endpoint.remote), endpoint.remote.port, endpoint.remote.scope_id)
    local = _ip_of_c(endpoint.local) if endpoint.local.family else None
    return Endpoint(remote, local, endpoint.ifindex)


def _event_of_c(event: Any) -> Event:  # noqa: ANN401
    kind = EventKind(event.kind)
    if kind is EventKind.HANDSHAKE:
        message = bytes(ffi.buffer(event.message, event.length))
        return Event(kind, event.peer, event.time_ns, source=_endpoint_of_c(event.source), message=message)
    if kind is EventKind.DEVICE_GONE:
        return Event(kind, event.peer, event.time_ns, error=event.length)
    return Event(kind, event.peer, event.time_ns, index=event.index)
