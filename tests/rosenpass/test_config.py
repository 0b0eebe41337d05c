"""The TOML file and the words of `exchange`: what is read, what is refused, and on which line."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosenpass.constants import SECOND, SUITES
from rosenpass.errors import ConfigError
from rosenpass.hash_domains import OskLabel
from rosenpass.standalone.config import from_words, load, to_toml
from rosenpass.standalone.values import HostPort, WireguardOutput, read_host_port

WG = "4eTXCAZlNkjHiIgZ2CA6pXfcPFSQjTZbYHLJb4DvC0E="
FULL = f"""
public_key = "pqpk"
secret_key = "~/pqsk"
listen = ["0.0.0.0:9999", "[::]:9999"]
verbosity = "Verbose"

[[peers]]
public_key = "a.pqpk"
endpoint = "peer.example.org:9999"
pre_shared_key = "a.psk"
key_out = "a.osk"
protocol_version = "V03"
osk_organization = "myorg.com"
osk_label = ["one", "two"]

[[peers]]
public_key = "b.pqpk"
device = "wg0"
peer = "{WG}"
extra_params = ["allowed-ips", "::/0"]
"""


def written(path: Path, text: str) -> Path:
    file = path / "r.toml"
    file.write_text(text)
    return file


def test_a_full_file_means_what_it_says(tmp_path: Path) -> None:
    config = load(written(tmp_path, FULL))
    assert config.public_key == Path("pqpk")
    assert config.secret_key == Path.home() / "pqsk"
    assert config.listen == (HostPort("0.0.0.0", 9999), HostPort("::", 9999))
    assert config.verbose
    first, second = config.peers
    assert first.endpoint == HostPort("peer.example.org", 9999)
    assert first.suite == SUITES["V03"]
    assert first.osk_label == OskLabel("myorg.com", ("one", "two"))
    assert first.where.endswith("r.toml:8")
    assert second.wireguard == WireguardOutput("wg0", WG, ("allowed-ips", "::/0"))
    assert second.endpoint is None


def test_the_wireguard_table_of_go_rosenpass_is_understood(tmp_path: Path) -> None:
    text = f'listen=[]\n[[peers]]\npublic_key="p"\n[peers.wireguard]\ninterface="wg0"\npublic_key="{WG}"\n'
    assert load(written(tmp_path, text)).peers[0].wireguard == WireguardOutput("wg0", WG)


def test_timers_are_seconds(tmp_path: Path) -> None:
    config = load(written(tmp_path, "listen=[]\npeers=[]\n[timers]\nrekey_after_initiator = 2.5\n"))
    assert config.timers.rekey_after_initiator == 5 * SECOND // 2


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("listen = []\npeers = []\nlisten_on = 1\n", 3, "listen_on"),
        (
            'listen = []\n[[peers]]\npublic_key = "a"\n\n[[peers]]\npublic_key = "b"\nendpont = "c:1"\n',
            7,
            "endpont",
        ),
        ('listen = []\n[[peers]]\npublic_key = "a"\nendpoint = "nowhere"\n', 4, "host:port"),
        ('listen = []\n[[peers]]\npublic_key = "a"\nendpoint = 7\n', 4, "text"),
        ('listen = []\n[[peers]]\npublic_key = "a"\nprotocol_version = "V04"\n', 4, "V02"),
        ('listen = []\n[[peers]]\npublic_key = "a"\ndevice = "wg0"\n', 2, "belong together"),
        ('listen = []\n[[peers]]\npublic_key = "a"\ndevice = "wg0"\npeer = "x"\n', 5, "WireGuard public key"),
        ('listen = []\n[[peers]]\npublic_key = "a"\n[peers.wireguard]\nkey = "x"\n', 5, "key"),
        ('listen = []\n[[peers]]\nendpoint = "a:1"\n', 2, "public_key"),
        ('listen = ["localhost:1"]\npeers = []\n', 1, "localhost"),
        ("listen = []\npeers = []\n[timers]\noverdue = 0\n", 4, "seconds"),
        ("listen = []\npeers = []\n[timers]\nrekey = 1\n", 4, "rekey"),
        ("listen = []\npeers = {}\n", 2, "tables"),
        ("listen = []\npeers = [[\n\n= 1]]\n", 4, "TOML"),
        ('listen = []\npeers = []\nverbosity = "Loud"\n', 3, "Verbose"),
        ('listen = []\n[[peers]]\npublic_key = "a"\nosk_label = ["x"]\n', 2, "osk_organization"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, text))
    assert refused.value.where.endswith(f"r.toml:{line}")
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("text", ["peers = []\n", "listen = []\n", 'listen=[]\npeers=[]\npublic_key="a"\n'])
def test_what_is_missing_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"missing|belong together"):
        load(written(tmp_path, text))


def test_a_file_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "absent.toml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        load(tmp_path / "binary")


def test_the_words_of_the_rust_tool() -> None:
    words = (
        "public-key pk secret-key sk listen 0.0.0.0:1 listen [::1]:2 verbose"
        f" peer public-key a endpoint h:3 preshared-key psk outfile out wireguard wg0 {WG} allowed-ips ::/0"
        " peer public-key b outfile c"
    )
    config = from_words(words.split())
    assert config.listen == (HostPort("0.0.0.0", 1), HostPort("::1", 2))
    assert config.verbose
    first, second = config.peers
    assert first.wireguard == WireguardOutput("wg0", WG, ("allowed-ips", "::/0"))
    assert (first.endpoint, first.key_out, first.pre_shared_key) == (
        HostPort("h", 3),
        Path("out"),
        Path("psk"),
    )
    assert (second.public_key, second.key_out) == (Path("b"), Path("c"))
    assert from_words(["public-key", "pk", "private-key", "sk"]).secret_key == Path("sk")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("public-key pk", "secret-key"),
        ("public-key", "needs a value"),
        ("public-key pk secret-key sk foo", "`foo`"),
        ("public-key pk secret-key sk listen localhost:1", "address:port"),
        ("public-key pk secret-key sk peer outfile x", "public-key"),
        ("public-key pk secret-key sk peer public-key a endpoint b", "host:port"),
        ("public-key pk secret-key sk peer public-key a wireguard wg0 short", "WireGuard public key"),
        ("public-key pk secret-key sk peer public-key a bar", "peer 1"),
    ],
)
def test_wrong_words_are_named(words: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        from_words(words.split())


def test_saved_words_read_back_equal(tmp_path: Path) -> None:
    words = ["public-key", 'p"k\\', "secret-key", "s k", "listen", "[::1]:2", "peer", "public-key", "a\tb"]
    words += ["endpoint", "h:3", "outfile", "ü", "wireguard", "wg0", WG, "x"]
    config = from_words(words)
    again = load(written(tmp_path, to_toml(config)))
    assert replace(again.peers[0], where="") == replace(config.peers[0], where="")
    assert replace(again, peers=()) == replace(config, peers=())


@given(st.text(max_size=60))
def test_any_text_is_a_host_and_port_or_a_value_error(text: str) -> None:
    try:
        found = read_host_port(text)
    except ValueError:
        return
    assert read_host_port(str(found)) == found
