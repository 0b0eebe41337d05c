"""Biscuits: the responder's state, encrypted to itself and carried by the initiator.

    plaintext 76    pidi 32 | biscuit_no 12 (LE) | ck 32
    biscuit_ct 116  nonce 24 | ciphertext 76 | tag 16

The top bit of the nonce names the key slot, as the Rust tool does it; nobody but ourselves reads it.
White paper, section 2.4.6.
"""

from dataclasses import dataclass, field

from .constants import BISCUIT_NO_LEN, KEY_LEN, PEER_ID_LEN, XNONCE_LEN, Instant, Timers
from .erasure import wipe
from .errors import AuthenticationError
from .primitives import xaead_decrypt, xaead_encrypt
from .randomness import RandomBytes

_SLOT_BIT = 0x80
MAX_BISCUIT_NO = (1 << 8 * BISCUIT_NO_LEN) - 1


@dataclass(frozen=True, slots=True)
class Biscuit:
    """What a biscuit of ours said.

    Attributes:
        number: greater than that of every biscuit issued before in this process.
    """

    pidi: bytes
    number: int
    ck: bytes = field(repr=False)


@dataclass(slots=True)
class _Slot:
    key: bytearray = field(repr=False)
    created_at: Instant


class BiscuitKeys:
    """Two key slots and the counter. A slot without a random key is absent and opens nothing.

    A key issues for one epoch, opens for another, then is overwritten. Keys never leave memory, so biscuits
    do not survive a restart; their initiators start again.
    """

    def __init__(self, random: RandomBytes, timers: Timers) -> None:
        self.next_number = 1
        self._random = random
        self._epoch = timers.biscuit_epoch
        self._slots: list[_Slot | None] = [None, None]
        self._active = 1

    def store(self, pidi: bytes, ck: bytearray, additional: bytes, now: Instant) -> bytes:
        """Issue the next biscuit: 116 bytes. `additional` is the biscuit AD of this handshake."""
        slot = self._issuing_slot(now)
        nonce = bytearray(self._random(XNONCE_LEN))
        nonce[0] = nonce[0] & ~_SLOT_BIT | (_SLOT_BIT if self._active else 0)
        plaintext = bytearray(pidi + self.next_number.to_bytes(BISCUIT_NO_LEN, "little") + ck)
        self.next_number += 1
        biscuit_ct = xaead_encrypt(slot.key, bytes(nonce), plaintext, additional)
        wipe(plaintext)
        return biscuit_ct

    def load(self, biscuit_ct: bytes, additional: bytes, now: Instant) -> Biscuit:
        """Open a biscuit of ours.

        Raises:
            AuthenticationError: its key is gone or never was, or it is not ours or not of this handshake.
        """
        slot = self._slots[biscuit_ct[0] >> 7]
        if slot is None or now - slot.created_at >= 2 * self._epoch:
            raise AuthenticationError("no key for this biscuit")
        plaintext = xaead_decrypt(slot.key, biscuit_ct, additional)
        number = int.from_bytes(plaintext[PEER_ID_LEN:-KEY_LEN], "little")
        return Biscuit(plaintext[:PEER_ID_LEN], number, plaintext[-KEY_LEN:])

    def expire(self, now: Instant) -> None:
        """Overwrite keys two epochs old."""
        for index, slot in enumerate(self._slots):
            if slot is not None and now - slot.created_at >= 2 * self._epoch:
                wipe(slot.key)
                self._slots[index] = None

    def wipe(self) -> None:
        """Overwrite both keys."""
        for slot in self._slots:
            wipe(slot.key if slot else None)
        self._slots = [None, None]

    def next_deadline(self) -> Instant | None:
        """Return when expire() next has something to do."""
        ends = [slot.created_at + 2 * self._epoch for slot in self._slots if slot is not None]
        return Instant(min(ends)) if ends else None

    def _issuing_slot(self, now: Instant) -> _Slot:
        self.expire(now)
        active = self._slots[self._active]
        if active is not None and now - active.created_at < self._epoch:
            return active
        if active is not None:
            self._active ^= 1
        old = self._slots[self._active]
        wipe(old.key if old else None)
        fresh = _Slot(bytearray(self._random(KEY_LEN)), now)
        self._slots[self._active] = fresh
        return fresh


def is_fresh(number: int, used: int) -> bool:
    """Whether biscuit `number` is greater than the last one used; the comparison itself does not branch."""
    return bool((used - number) >> (8 * BISCUIT_NO_LEN) & 1)
