"""Tests of signatures: made with a real key, read by the reference tool, and refused for every kind of change."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from lft_ray.errors import BundleError, InputError
from lft_ray.export.bundle import SIGNATURE, open_bundle
from lft_ray.export.signature import (
    PASSWORD_ENV,
    check_key,
    read_public_key,
    sign_bundle,
    sign_folder,
    verify_signature,
)
from lft_ray.run.storage import Storage
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.model.open import open_predictor
from tests.export.linear_bundles import linear_bundle

NO_PASSWORD = NoEncryption()


def keys(folder: Path, name: str = "key", *, encryption: KeySerializationEncryption = NO_PASSWORD) -> tuple[Path, Path]:
    """Write a new key pair. Returns the paths of the private and the public key."""
    secret = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public.write_bytes(secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signed_once(tmp_path_factory: pytest.TempPathFactory, pair: tuple[Path, Path]) -> Path:
    bundle = linear_bundle(tmp_path_factory.mktemp("signed"))
    sign_folder(bundle, pair[0])
    return bundle


@pytest.fixture
def signed(tmp_path: Path, signed_once: Path) -> Path:
    return Path(shutil.copytree(signed_once, tmp_path / "bundle"))


def test_signature_does_not_change_the_version(signed: Path, pair: tuple[Path, Path]) -> None:
    version = open_bundle(signed).bundle.version
    (signed / SIGNATURE).unlink()
    assert open_bundle(signed).bundle.version == version


def test_signed_bundle_is_accepted(signed: Path, pair: tuple[Path, Path]) -> None:
    verify_signature(signed, read_public_key(pair[1]))


def test_reference_tool_reads_the_signature(signed: Path, pair: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signed), "--signature"]
    done = subprocess.run(
        [*command, str(signed / SIGNATURE), "--public_key", str(pair[1])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_key_of_another_holder_is_refused(signed: Path, tmp_path: Path) -> None:
    other = keys(tmp_path, "other")[1]
    with pytest.raises(BundleError, match="does not carry a valid signature"):
        verify_signature(signed, read_public_key(other))


def test_missing_signature_is_refused(signed: Path, pair: tuple[Path, Path]) -> None:
    (signed / SIGNATURE).unlink()
    with pytest.raises(BundleError, match="is not signed"):
        verify_signature(signed, read_public_key(pair[1]))


@pytest.mark.parametrize("kind", ["changed", "added", "removed", "hidden", "damaged signature", "empty signature"])
def test_every_change_is_refused(signed: Path, pair: tuple[Path, Path], kind: str) -> None:
    card = signed / "MODEL_CARD.md"
    if kind == "changed":
        card.write_text(card.read_text() + " ")
    elif kind == "added":
        (signed / "more.json").write_text("{}")
    elif kind == "removed":
        card.unlink()
    elif kind == "hidden":
        (signed / ".git").mkdir()
        (signed / ".git" / "config").write_text("x")
    else:
        payload = (signed / SIGNATURE).read_bytes()
        (signed / SIGNATURE).write_bytes(payload[: len(payload) // 2] if kind == "damaged signature" else b"")
    with pytest.raises(BundleError, match="does not carry a valid signature"):
        verify_signature(signed, read_public_key(pair[1]))


def test_replica_opens_signed_bundles_only(signed: Path, pair: tuple[Path, Path]) -> None:
    key, layout = read_public_key(pair[1]), ReplicaThreads(1, "throughput", 128)
    open_predictor(str(signed), layout, limits=LIMITS, public_key=key)
    (signed / SIGNATURE).unlink()
    with pytest.raises(BundleError, match="is not signed"):
        open_predictor(str(signed), layout, limits=LIMITS, public_key=key)


def test_bundle_in_storage_is_signed(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    bundle = linear_bundle(tmp_path)
    assert sign_bundle(Storage(bundle), pair[0]) == str(bundle / SIGNATURE)
    verify_signature(bundle, read_public_key(pair[1]))


def test_encrypted_key_needs_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = keys(tmp_path, encryption=BestAvailableEncryption(b"open sesame"))
    monkeypatch.delenv(PASSWORD_ENV, raising=False)
    with pytest.raises(InputError, match="cannot be used") as caught:
        check_key(private)
    assert PASSWORD_ENV in str(caught.value.fix)
    monkeypatch.setenv(PASSWORD_ENV, "open sesame")
    check_key(private)


def test_bad_keys_are_named_errors(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    other = tmp_path / "other.pub"
    other.write_bytes(
        ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    text = tmp_path / "key.txt"
    text.write_text("not a key")
    for path, words in (
        (tmp_path / "none.pem", "cannot read the key"),
        (text, "is not a public key"),
        (pair[0], "names a private key"),
        (other, "another kind"),
    ):
        with pytest.raises(InputError, match=words):
            read_public_key(path)
    for path in (tmp_path / "none.pem", text, pair[1]):
        with pytest.raises(InputError, match="cannot"):
            check_key(path)
