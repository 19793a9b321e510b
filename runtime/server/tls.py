"""Certificate and key of the live view, read again when they are renewed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from ...errors import RequestError


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Files in PEM format.

    Attributes:
        certificate: The server's, followed by those that signed it.
        key: Its key, not encrypted; None: in the same file.
    """

    certificate: Path
    key: Path | None = None

    def changed_at(self) -> tuple[int, ...]:
        """When the files were written, for comparing; empty while one is not there."""
        files = (self.certificate, self.key or self.certificate)
        try:
            return tuple(file.stat().st_mtime_ns for file in files)
        except OSError:
            return ()


def load_certificate(
    files: CertificateFiles, context: ssl.SSLContext | None = None
) -> ssl.SSLContext:
    """A context for a server, or the given one with a new certificate for new connections.

    Raises:
        RequestError: A file cannot be read or is of another kind, or they do not belong together.
    """
    fresh = _context()
    _load(files, fresh)
    if context is None:
        return fresh
    _load(files, context)
    return context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(files: CertificateFiles, context: ssl.SSLContext) -> None:
    for flag, file in (("--serve-cert", files.certificate), ("--serve-key", files.key)):
        if file is not None:
            try:
                file.open("rb").close()
            except OSError as error:
                raise RequestError(f"{flag} {file}: cannot be read ({error.strerror})") from None
    shown = f"--serve-cert {files.certificate}" + (f" --serve-key {files.key}" if files.key else "")
    try:
        # Without a function for the password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except _EncryptedKeyError:
        raise RequestError(
            f"{shown}: the key is encrypted; give one that is not, readable by this user alone"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise RequestError(f"{shown}: key and certificate do not belong together") from None
        raise RequestError(
            f"{shown}: expected a certificate and its key in PEM format (OpenSSL: {error.reason})"
        ) from None


class _EncryptedKeyError(Exception):
    pass


def _no_password() -> str:
    raise _EncryptedKeyError
