"""How a server is trusted over TLS, and how this client proves who it is.

Certificates are PEM, as bytes or as a file's path. Invariant: what is wrong with the options is said when the client is made,
not by its first call.
"""

import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from featurestore_client.errors import InvalidArgumentError

Certificate = bytes | str | Path
"""PEM, as bytes or as the path of a file."""


@dataclass(frozen=True)
class Tls:
    """The options of a server that is reached over TLS."""

    ca_certificate: Certificate | None = None
    """The roots to trust; the system's when None."""
    client_certificate: Certificate | None = None
    client_key: Certificate | None = None
    server_name: str | None = None
    """The name that the server's certificate is for, where it is not the address's host."""

    def roots(self) -> bytes | None:
        """The roots to trust, None for the system's."""
        return pem("ca_certificate", self.ca_certificate)

    def identity(self) -> tuple[bytes, bytes] | None:
        """The certificate and key to show. Raises InvalidArgumentError where only one is given or a file is not there."""
        if (self.client_certificate is None) != (self.client_key is None):
            given = "client_certificate" if self.client_key is None else "client_key"
            raise InvalidArgumentError.of("tls", f"only {given}", "client_certificate and client_key together, or neither")
        certificate, key = pem("client_certificate", self.client_certificate), pem("client_key", self.client_key)
        return None if certificate is None or key is None else (certificate, key)

    def context(self) -> ssl.SSLContext:
        """For Python's own TLS, with HTTP/2 as what is spoken. Raises InvalidArgumentError for what is no certificate."""
        roots, identity = self.roots(), self.identity()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        if roots is None:
            context.load_default_certs()
        else:
            try:
                context.load_verify_locations(cadata=roots.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise InvalidArgumentError.of("ca_certificate", self.ca_certificate, f"certificates as PEM ({error})") from None
        if identity is not None:
            # OpenSSL takes these from files only; the directory is ours alone and gone at once.
            with tempfile.TemporaryDirectory() as directory:
                paths = [Path(directory, name) for name in ("certificate", "key")]
                for path, content in zip(paths, identity, strict=True):
                    path.touch(0o600)
                    path.write_bytes(content)
                try:
                    context.load_cert_chain(*map(os.fspath, paths))
                except ssl.SSLError as error:
                    expected = f"a certificate as PEM and its key ({error})"
                    raise InvalidArgumentError.of("client_certificate", self.client_certificate, expected) from None
        return context


def pem(field: str, certificate: Certificate | None) -> bytes | None:
    """The bytes of a certificate or key. Raises InvalidArgumentError for a file that is not to be read."""
    if certificate is None or isinstance(certificate, bytes):
        return certificate
    try:
        return Path(certificate).read_bytes()
    except OSError as error:
        raise InvalidArgumentError.of(field, str(certificate), f"PEM bytes or a readable file ({error.strerror})") from error
