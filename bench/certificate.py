"""A self-signed certificate for 127.0.0.1, made for one run."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_NAME = ("-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1")


class Certificate(NamedTuple):
    """PEM files."""

    path: Path
    key: Path

    @staticmethod
    def missing() -> str:
        """What this machine lacks to make one; empty when nothing."""
        return "" if shutil.which("openssl") else "openssl is not installed"

    @classmethod
    def make(cls, directory: Path) -> "Certificate":
        """Makes one in ``directory``, valid for a day."""
        made = cls(directory / "certificate.pem", directory / "key.pem")
        files = ("-out", str(made.path), "-keyout", str(made.key))
        subprocess.run(["openssl", "req", "-x509", "-days", "1", *_KEY, *_NAME, *files], check=True, capture_output=True)
        return made
