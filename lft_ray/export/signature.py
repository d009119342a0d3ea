"""Signatures of bundles and cascades: who made them, where a manifest only tells whether they are intact.

Format of OpenSSF Model Signing v1.0 with an elliptic-curve key, so that ``model_signing verify key`` reads them too
(https://github.com/sigstore/model-transparency). In: a folder and a PEM key. Out: ``model.sig``, or a `BundleError`.
Never contacts a network: there is no transparency log and no certificate authority.
"""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lft_ray.errors import BundleError, InputError, first_line
from lft_ray.export.bundle import SIGNATURE
from lft_ray.run.storage import Storage

if TYPE_CHECKING:
    from model_signing import hashing

__all__ = ["PASSWORD_ENV", "check_key", "read_public_key", "sign_bundle", "sign_folder", "verify_signature"]

PASSWORD_ENV = "LFT_SIGNING_PASSWORD"
"""Environment variable with the password of an encrypted private key."""
_CURVES = "an elliptic-curve key in PEM format (P-256, P-384 or P-521)"
_NEW_KEY = "`openssl ecparam -name prime256v1 -genkey -noout -out key.pem` creates a private key"


def sign_folder(folder: Path, private_key: Path) -> Path:
    """Sign every file of a bundle or cascade.

    Args:
        folder: a local folder; ``model.sig`` is written there, replacing an earlier signature.
        private_key: PEM file of an elliptic-curve key; `PASSWORD_ENV` holds its password, if it has one.

    Returns:
        The path of the signature.

    Raises:
        InputError: the extra ``signing`` is not installed, or the key cannot be read.
    """
    _require_extra()
    from model_signing import signing

    _read_key(private_key)
    password = os.environ.get(PASSWORD_ENV)
    signature = folder / SIGNATURE
    config = signing.Config().set_hashing_config(_every_file(signature))  # type: ignore[no-untyped-call]
    try:
        # The library hands the password on as it is, and the layer below takes bytes only.
        signer = config.use_elliptic_key_signer(
            private_key=private_key,
            password=password.encode() if password else None,  # type: ignore[arg-type]
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the private key {private_key} cannot be used: {first_line(error)}",
            fix=f"use {_CURVES}; an encrypted key needs {PASSWORD_ENV}. {_NEW_KEY}",
        ) from None
    signature.unlink(missing_ok=True)
    signer.sign(folder, signature)
    return signature


def check_key(private_key: Path) -> None:
    """Refuse a key that cannot sign, before the minutes of an export are spent. Raises `InputError`."""
    with tempfile.TemporaryDirectory(prefix="lft-key-") as scratch:
        (Path(scratch) / "file").write_text("signed and deleted")
        sign_folder(Path(scratch), private_key)


def sign_bundle(storage: Storage, private_key: Path) -> str:
    """Sign a bundle or cascade in storage. Returns the URI of its signature. Raises as `sign_folder`."""
    if storage.is_local:
        return str(sign_folder(Path(storage.uri), private_key))
    with tempfile.TemporaryDirectory(prefix="lft-sign-") as scratch:
        folder = storage.local_folder("", Path(scratch))
        return storage.put(SIGNATURE, sign_folder(folder, private_key).read_bytes())


def verify_signature(folder: Path, public_key: str) -> None:
    """Check that a folder was signed by the holder of a key, and that no file was added, removed or changed since.

    Args:
        folder: local folder of a bundle or cascade.
        public_key: text of the PEM file, see `read_public_key`.

    Raises:
        BundleError: there is no signature, it is of another key, or a file differs.
        InputError: the extra ``signing`` is not installed.
    """
    _require_extra()
    from model_signing import verifying

    signature = folder / SIGNATURE
    if not signature.is_file() or signature.is_symlink():
        raise BundleError(
            f"bundle {folder} is not signed, and serve.require_signature is set",
            fix="`lft export RUN --sign PRIVATE_KEY` signs it",
        )
    with tempfile.NamedTemporaryFile("w", prefix="lft-key-", suffix=".pem") as key:
        # The library reads keys from files only, and a replica may run on a node without the user's file.
        key.write(public_key)
        key.flush()
        config = verifying.Config()  # type: ignore[no-untyped-call]
        config.set_hashing_config(_every_file(signature)).set_ignore_unsigned_files(False)
        try:
            config.use_elliptic_key_verifier(public_key=key.name).verify(folder, signature)
        # The library lets through whatever its layers raise: ValueError, InvalidSignature, KeyError, validation errors.
        except Exception as error:  # noqa: BLE001
            raise BundleError(
                f"bundle {folder} does not carry a valid signature of the key of serve.require_signature: "
                f"{first_line(error) or type(error).__name__}",
                fix="serve a bundle that the holder of this key has signed, unchanged since",
            ) from None


def read_public_key(path: str | Path) -> str:
    """Read and check the public key that ``serve.require_signature`` names.

    Raises:
        InputError: the file is missing, or not the public half of an elliptic-curve key.
    """
    _require_extra()
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    payload = _read_key(Path(path))
    fix = f"use the public half of {_CURVES}: `openssl ec -in key.pem -pubout -out key.pub` writes it"
    if b"PRIVATE KEY" in payload:
        raise InputError(f"serve.require_signature names a private key: {path}", fix=fix)
    try:
        key = load_pem_public_key(payload)
    except ValueError:
        raise InputError(f"serve.require_signature: {path} is not a public key", fix=fix) from None
    if not isinstance(key, EllipticCurvePublicKey):
        raise InputError(f"serve.require_signature: {path} is a key of another kind ({type(key).__name__})", fix=fix)
    return payload.decode("ascii")


def _every_file(signature: Path) -> "hashing.Config":
    """Hash every file but the signature itself; the library would leave out .git and the like."""
    from model_signing import hashing

    config = hashing.Config()  # type: ignore[no-untyped-call]
    return config.set_ignored_paths(paths=[signature], ignore_git_paths=False)


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the key {path}: {error.strerror}", fix=_NEW_KEY) from None


def _require_extra() -> None:
    try:
        import model_signing  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"signatures need the package model-signing ({first_line(error)})", fix='pip install "lft-ray[signing]"'
        ) from None
