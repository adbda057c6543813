"""Whoever changes a packed bundle is found out; keys and signatures are those of minisign."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medbundles import cli
from medbundles.errors import InputError, IntegrityError, SignatureError, UnreadableFileError
from medbundles.zoo import keys, minisign
from medbundles.zoo.new import TEMPLATE
from medbundles.zoo.pack import pack
from medbundles.zoo.verify import verify

SIGNATURE = "SHA256SUMS.minisig"
# What minisign 0.11 wrote for the content b"hello\n", with a key that nobody uses.
PUBLIC = "RWS0+R3oBXz1lYlx0qJLlAmDXdgOotwy1hU5zSSysSSF+UwYUVhu1Q+t"
THEIRS = """untrusted comment: signature from minisign secret key
RUS0+R3oBXz1lSBdiDdDLPEN41vUpD36g2zYXRC7JnyKIDiCvy6Aji3DezXR3JFGdAaWXgeQROUHSoZzbKPGbkxp3KGTgF2q8Ag=
trusted comment: timestamp:1795327341\tfile:f\thashed
vnwKTFjhK0XHRIwMCcfruNUpeMUbEiLpWkeFtbdaLt9B7coKTcxbafJ1pBa3fanC++U3k+pfmFeVAL9FXKFFAQ==
"""
CHEAP = (1 << 16, 1 << 21)


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed zip, the key that signed it and another one."""
    folder = tmp_path_factory.mktemp("signed")
    for name in ("key", "other"):
        keys.make_keys(folder / name, plain=True)
    packed = pack(TEMPLATE, folder, key=keys.secret_key(folder / "key"))
    packed.path.rename(folder / "bundle.zip")
    return folder


@pytest.fixture
def folder(signed: Path, tmp_path: Path) -> Path:
    """The bundle, unpacked, for a test to change."""
    with zipfile.ZipFile(signed / "bundle.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / TEMPLATE.name


def test_an_untouched_bundle_is_right_as_zip_and_as_folder_and_names_its_key(
    signed: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = minisign.read_public(signed / "key.pub").name
    for path in (signed / "bundle.zip", folder):
        assert run("verify", path, "--key", signed / "key.pub") == 0
        out = capsys.readouterr().out
        assert "none was added" in out and name in out and f"{TEMPLATE.name} 0.1.0" in out
    assert run("verify", folder) == 0
    assert "NOT CHECKED" in capsys.readouterr().out


def test_a_signed_bundle_packed_twice_is_the_same_file(signed: Path, tmp_path: Path) -> None:
    again = pack(TEMPLATE, tmp_path, key=keys.secret_key(signed / "key"))
    assert again.path.read_bytes() == (signed / "bundle.zip").read_bytes()


def test_one_byte_of_any_file_is_noticed(signed: Path, folder: Path) -> None:
    names = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SIGNATURE]
    assert len(names) > 20
    for path in names:
        before = path.read_bytes()
        path.write_bytes(bytes([before[0] ^ 1]) + before[1:] if before else b"x")
        with pytest.raises((IntegrityError, SignatureError), match=path.name):
            list(verify(folder, signed / "key.pub"))
        path.write_bytes(before)
    assert list(verify(folder, signed / "key.pub"))


def add(folder: Path) -> None:
    (folder / "medbundles" / "__pycache__").mkdir()
    (folder / "medbundles" / "__pycache__" / "io.cpython-311.pyc").write_bytes(b"not ours")


def remove(folder: Path) -> None:
    (folder / "docs" / "data_license.txt").unlink()


def edit_sums(folder: Path) -> None:
    """As somebody would who changes a file and hides it."""
    path, sums = folder / "configs" / "inference.json", folder / "SHA256SUMS"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(path.read_bytes()).hexdigest()))


def truncate(folder: Path) -> None:
    path = folder / SIGNATURE
    path.write_text(path.read_text()[:-30])


def edit_comment(folder: Path) -> None:
    path = folder / SIGNATURE
    path.write_text(path.read_text().replace("0.1.0", "0.2.0"))


def unsign(folder: Path) -> None:
    (folder / SIGNATURE).unlink()


def unlist(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    ("change", "kind", "named"),
    [
        (add, IntegrityError, r"io\.cpython-311\.pyc is not listed"),
        (remove, IntegrityError, r"docs/data_license\.txt is missing"),
        (edit_sums, SignatureError, "SHA256SUMS"),
        (truncate, SignatureError, SIGNATURE),
        (edit_comment, SignatureError, "SHA256SUMS"),
        (unsign, SignatureError, "not signed"),
        (unlist, IntegrityError, "no SHA256SUMS"),
    ],
)
def test_tampering_is_refused_and_the_file_named(
    signed: Path, folder: Path, change: Callable[[Path], None], kind: type[InputError], named: str
) -> None:
    change(folder)
    with pytest.raises(kind, match=named):
        list(verify(folder, signed / "key.pub"))
    assert run("verify", folder, "--key", signed / "key.pub") == 1


def test_another_key_is_refused_and_both_are_named(signed: Path) -> None:
    theirs = minisign.read_public(signed / "other.pub").name
    with pytest.raises(SignatureError, match=f"key {theirs}"):
        list(verify(signed / "bundle.zip", signed / "other.pub"))


def test_a_zip_that_is_damaged_or_holds_more_than_one_folder_is_refused(signed: Path, tmp_path: Path) -> None:
    content = (signed / "bundle.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableFileError):
        list(verify(tmp_path / "cut.zip"))
    middle = bytearray(content)
    middle[len(content) // 2] ^= 255
    (tmp_path / "bent.zip").write_bytes(middle)
    with pytest.raises((UnreadableFileError, IntegrityError)):
        list(verify(tmp_path / "bent.zip"))
    shutil.copyfile(signed / "bundle.zip", tmp_path / "more.zip")
    for name, found in (("elsewhere/evil.py", "several folders"), (f"{TEMPLATE.name}/../x", "leads out")):
        shutil.copyfile(signed / "bundle.zip", tmp_path / "more.zip")
        with zipfile.ZipFile(tmp_path / "more.zip", "a") as archive:
            archive.writestr(name, "import os")
        with pytest.raises(IntegrityError, match=found):
            list(verify(tmp_path / "more.zip"))


def test_a_signature_of_minisign_itself_is_understood() -> None:
    key, signature = minisign.read_public(PUBLIC), minisign.parse_signature(THEIRS, "f.minisig")
    assert key.name == "95F57C05E81DF9B4"
    minisign.check(b"hello\n", signature, key, source="f")
    with pytest.raises(SignatureError, match="changed"):
        minisign.check(b"hello", signature, key, source="f")


@pytest.mark.skipif(shutil.which("minisign") is None, reason="the tool minisign is not installed")
def test_minisign_itself_accepts_our_keys_and_signatures(signed: Path, folder: Path) -> None:
    command = ["minisign", "-Vm", str(folder / "SHA256SUMS"), "-p", str(signed / "key.pub")]
    assert "verified" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (folder / SIGNATURE).unlink()
    command = ["minisign", "-Sm", str(folder / "SHA256SUMS"), "-s", str(signed / "key")]
    subprocess.run(command, capture_output=True, check=True)
    assert any("by the key" in line for line in verify(folder, signed / "key.pub"))


def test_keys_are_for_their_owner_alone_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keygen", tmp_path / "k", "--plain") == 0
    assert (tmp_path / "k.pub").read_text().splitlines()[1] in capsys.readouterr().out
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    before = (tmp_path / "k").read_bytes()
    assert run("keygen", tmp_path / "k", "--plain") == 1
    assert (tmp_path / "k").read_bytes() == before
    (tmp_path / "new.pub").write_text("somebody else's")
    with pytest.raises(SignatureError, match=r"new\.pub"):
        keys.make_keys(tmp_path / "new", plain=True)
    assert not (tmp_path / "new").exists()


def test_a_password_protects_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = minisign.new_key()
    (tmp_path / "k").write_text(key.text("a password", *CHEAP))
    assert key.seed not in (tmp_path / "k").read_bytes()
    monkeypatch.setenv(keys.PASSWORD, "a password")
    assert keys.secret_key(tmp_path / "k") == key
    monkeypatch.setenv(keys.PASSWORD, "another")
    with pytest.raises(SignatureError, match="password"):
        keys.secret_key(tmp_path / "k")


def test_a_key_file_that_is_none_is_refused_by_name(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "cut").write_text((signed / "key").read_text()[:-40])
    for path in (tmp_path / "cut", tmp_path / "absent", signed / "key.pub"):
        with pytest.raises(SignatureError, match=path.name):
            minisign.read_secret(path, None)
    with pytest.raises(SignatureError):
        minisign.read_public(signed / "key")
