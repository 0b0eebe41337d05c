"""wgpy.config_files and wgpy.resolve: the edges around configuration files."""

import os
import socket
from pathlib import Path

import pytest

from wgpy import config_files
from wgpy.config import HostPort
from wgpy.config_values import BadValue
from wgpy.errors import ConfigError, PermissionMissing
from wgpy.resolve import NameNotFound, resolve, service_port, zone_index

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_a_path_names_the_interface(tmp_path: Path) -> None:
    (tmp_path / "wg-x.conf").touch()
    assert config_files.find_quick(f"{tmp_path}/wg-x.conf") == (tmp_path.resolve() / "wg-x.conf", "wg-x")


def test_a_file_of_this_directory_needs_no_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wg0.conf").touch()
    assert config_files.find_quick("wg0.conf") == (tmp_path.resolve() / "wg0.conf", "wg0")


def test_a_bare_name_is_a_file_of_etc_wireguard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_files, "DIRECTORY", tmp_path)
    (tmp_path / "wg0.conf").touch()
    assert config_files.find_quick("wg0") == (tmp_path.resolve() / "wg0.conf", "wg0")


@pytest.mark.parametrize("name", ["x/wg0", "x/sixteen--letters.conf", "x/..conf", "x/a b.conf", "absent", ""])
def test_what_is_no_name_of_a_file_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        config_files.find_quick(name and f"{tmp_path}/{name}")


@pytest.mark.parametrize(
    ("mode", "directory", "warns"), [(0o600, 0o755, 0), (0o644, 0o755, 1), (0o644, 0o700, 0)]
)
def test_a_file_that_everybody_reaches_gets_a_warning(
    tmp_path: Path, mode: int, directory: int, warns: int
) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(f"[Interface]\nPrivateKey={KEY}\n")
    file.chmod(mode)
    tmp_path.chmod(directory)
    assert len(config_files.read_quick_file(str(file)).warnings) == warns


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "wg0.conf").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        config_files.read_quick_file(f"{tmp_path}/wg0.conf")


def test_a_file_that_may_not_be_read_is_a_matter_of_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionMissing, match="run as root"):
        config_files.read_text(tmp_path / "wg0.conf")


def test_a_key_file_holds_a_key_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for text, key in ((f" {KEY}\n", bytes(range(32))), ("", None), ("\n", None)):
        file.write_text(text)
        assert config_files.read_key_file(file, "private-key") == key
    file.write_text("not a key")
    with pytest.raises(BadValue) as caught:
        config_files.read_key_file(file, "private-key")
    assert "not a key" not in str(caught.value).replace("does not hold a key", "")


# ---- names


def test_a_literal_endpoint_asks_nobody() -> None:
    assert str(resolve(HostPort("192.0.2.1", 5))) == "192.0.2.1:5"
    assert str(resolve(HostPort("2001:db8::1", 5))) == "[2001:db8::1]:5"
    assert resolve(HostPort("fe80::1%lo", 5)).scope_id == socket.if_nametoindex("lo")


def failing(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> None:
    real, failures = socket.getaddrinfo, [number] * times

    def getaddrinfo(host: str, *args: object, **kwargs: object) -> object:
        if failures:
            raise socket.gaierror(failures.pop(), "as told")
        return real("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_temporary_failure_is_tried_again_more_and_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, socket.EAI_AGAIN, 15)
    pauses: list[float] = []
    assert resolve(HostPort("x.example", 5), pauses.append).port == 5
    assert len(pauses) == 15
    assert pauses[:3] == pytest.approx([1, 1.2, 1.44])
    assert max(pauses) <= 20


def test_sixteen_failures_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, socket.EAI_AGAIN, 16)
    with pytest.raises(NameNotFound, match=r"x\.example:5"):
        resolve(HostPort("x.example", 5), lambda _: None)


@pytest.mark.parametrize(("text", "tries"), [("0", 1), ("2", 3), ("nonsense", 16)])
def test_the_environment_says_how_often(monkeypatch: pytest.MonkeyPatch, text: str, tries: int) -> None:
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", text)
    failing(monkeypatch, socket.EAI_AGAIN, 100)
    pauses: list[float] = []
    with pytest.raises(NameNotFound):
        resolve(HostPort("x.example", 5), pauses.append)
    assert len(pauses) == tries - 1


def test_infinity_outlasts_any_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "infinity")
    failing(monkeypatch, socket.EAI_AGAIN, 100)
    assert resolve(HostPort("x.example", 5), lambda _: None).port == 5


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_FAIL])
def test_a_name_that_does_not_exist_is_final(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    failing(monkeypatch, number, 1)
    with pytest.raises(NameNotFound):
        resolve(HostPort("x.example", 5), lambda _: pytest.fail("slept"))


@pytest.mark.parametrize("host", ["\u00fc" * 70, "a..b", "x" * 250])
def test_a_name_that_cannot_be_is_final(host: str) -> None:
    with pytest.raises(NameNotFound):
        resolve(HostPort(host, 5), lambda _: pytest.fail("slept"))


def test_services_and_zones_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getservbyname", {("openvpn", "udp"): 1194}.__getitem__)
    monkeypatch.setattr(socket, "getservbyname", lambda name, _: {"openvpn": 1194}[name])
    assert service_port("openvpn") == 1194
    with pytest.raises(LookupError):
        service_port("nonsense")
    assert zone_index("lo") == socket.if_nametoindex("lo")
    with pytest.raises(OSError, match=r".*"):
        zone_index("no such interface" * 9)


def test_reading_never_loses_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"# \xff\xfe\n")
    assert os.fsencode(config_files.read_text(tmp_path / "x")) == b"# \xff\xfe\n"


def test_a_link_to_a_file_of_any_name_is_read_under_the_links(tmp_path: Path) -> None:
    (tmp_path / "secret-of-this-host").write_text(f"[Interface]\nPrivateKey={KEY}\n")
    (tmp_path / "wg0.conf").symlink_to("secret-of-this-host")
    file = config_files.read_quick_file(f"{tmp_path}/wg0.conf")
    assert (file.path, file.interface) == (tmp_path.resolve() / "secret-of-this-host", "wg0")
    assert file.named == tmp_path.resolve() / "wg0.conf"  # another command finds the interface by it
