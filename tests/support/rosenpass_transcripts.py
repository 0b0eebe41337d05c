"""Recorded handshakes: upstream's, those derived from it, and the project's own."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from support import mceliece_reference
from support.vectors import own, shared

from rosenpass.constants import SUITES, Suite

HASHES = {"BLAKE2b": "V02", "SHAKE256": "V03"}


@dataclass(frozen=True)
class Transcript:
    """One handshake: `v[name]` is a recorded value, `draws` what was random."""

    suite: Suite
    keys: dict[str, bytes]
    psk: bytes
    epki: bytes
    eski: bytes
    sidi: bytes
    sidr: bytes
    ecti: bytes
    epti: bytes
    biscuit_key: bytes
    biscuit_nonce: bytes
    v: dict[str, bytes]


def suite_named(name: str) -> Suite:
    """BLAKE2b_ct188 and kin."""
    hash_name, form = name.split("_ct")
    return SUITES[HASHES[hash_name] + ("" if form == "188" else "-156")]


@cache
def upstream_entries() -> dict[str, bytes]:
    entries = shared("rosenpass/upstream_crypto_server_1.json")["entries"]
    return {name: bytes.fromhex(entry["hex"]) for name, entry in entries.items()}


def derived(name: str) -> Transcript:
    data = shared("rosenpass/derived_transcripts.json")
    entries = upstream_entries()
    keys = {k: entries[k] for k in entries if k.startswith(("initiator_static", "responder_static"))}
    return _transcript(data, name, keys, entries["psk"], entries)


@cache
def _own_keys() -> dict[str, bytes]:
    keys = {name: bytes.fromhex(text) for name, text in own("rosenpass_transcripts.json")["keys"].items()}
    for role in ("initiator", "responder"):
        keys[f"{role}_static_pk"] = mceliece_reference.SecretKey(keys[f"{role}_static_sk"]).public_key()
    return keys


def our_own(name: str) -> Transcript:
    data = own("rosenpass_transcripts.json")
    injected = {k: bytes.fromhex(v) for k, v in data["injected"].items() if isinstance(v, str)}
    return _transcript(data, name, _own_keys(), injected["psk"], injected)


def _transcript(
    data: dict[str, Any], name: str, keys: dict[str, bytes], psk: bytes, ephemeral: dict[str, bytes]
) -> Transcript:
    injected = data["injected"]
    return Transcript(
        suite=suite_named(name),
        keys=keys,
        psk=psk,
        epki=ephemeral["epki"],
        eski=ephemeral["eski"],
        sidi=bytes.fromhex(injected["sidi"]),
        sidr=bytes.fromhex(injected["sidr"]),
        ecti=ephemeral["ecti"],
        epti=ephemeral["epti"],
        biscuit_key=bytes.fromhex(injected["biscuit_key"]),
        biscuit_nonce=bytes.fromhex(injected["biscuit_nonce_used"]),
        v={k: bytes.fromhex(v) for k, v in data["suites"][name].items()},
    )
