"""Runs a built image from its root directory, as a container runtime would, and shows that the server in it works.

For machines without a container runtime: namespaces, mounts and the dropping of privileges are done with util-linux (unshare,
nsenter, setpriv). The image's own configuration (entry point, user, environment, health check, stop signal) is what is run.
Invariant: each line that is printed as `ok` was checked, and the first thing that does not hold ends the program with 1.
"""

import argparse
import json
import os
import secrets
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECK = Path(__file__).parent / "check"
READY_S_MAX = 60
STOP_S_MAX = 30
API_KEY = secrets.token_urlsafe(24)

# Inside the new mount namespace, where nothing that is mounted is seen by the rest of the machine: the image's root read-only,
# and what compose.yaml gives a container besides: /tmp and /dev/shm in memory, the volume, the definitions.
ENTER = """
set -eu
root=$1 volume=$2 configuration=$3 definitions=$4; shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom; do touch dev/$device; mount --bind /dev/$device dev/$device; done
ln -s /proc/self/fd dev/fd
mkdir dev/shm; mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=256m tmpfs dev/shm
mount -t tmpfs -o nosuid,nodev,mode=1777,size=64m tmpfs tmp
mount --bind "$volume" var/lib/featurestore
mount --bind "$configuration" etc/featurestore; mount -o remount,bind,ro etc/featurestore
mount --bind "$definitions" mnt; mount -o remount,bind,ro mnt
mount -o remount,bind,ro "$root"
ip link set lo up
exec chroot "$root" "$@"
"""


def _words(value: object) -> list[str]:
    if not isinstance(value, list):
        raise SystemExit(f"the image's configuration has {value!r} where a list of words was expected")
    return [str(word) for word in value]


class Image:
    """An image's root directory and the configuration it was built with."""

    def __init__(self, root: Path, configuration: Mapping[str, object]) -> None:
        self.root = root
        self.entrypoint = _words(configuration["Entrypoint"])
        self.command = _words(configuration["Cmd"])
        self.environment = dict(pair.split("=", 1) for pair in _words(configuration["Env"]))
        self.working_directory = str(configuration["WorkingDir"])
        self.user, _, self.group = str(configuration["User"]).partition(":")
        self.stop_signal = signal.Signals[str(configuration["StopSignal"])]
        health = configuration["Healthcheck"]
        if not isinstance(health, dict) or health["Test"][0] != "CMD":
            raise SystemExit(f"the image's health check is {health!r}, expected one in exec form")
        self.health_check = _words(health["Test"][1:])

    def as_user(self, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """The command under the image's user and environment, without any capability or a way to gain one."""
        settings = [f"{name}={value}" for name, value in {**self.environment, **environment}.items()]
        drop = ["setpriv", f"--reuid={self.user}", f"--regid={self.group}", "--clear-groups"]
        limits = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        return ["/usr/bin/env", "-i", "-C", self.working_directory, *settings, *drop, *limits, "--", *command]


class Container:
    """A running server: process 1 of its own namespaces, until the end of the `with` block at the latest."""

    def __init__(self, image: Image, directory: Path, environment: Mapping[str, str]) -> None:
        self.image = image
        self.environment = environment
        self.log = directory / "server.log"
        volume, configuration = directory / "volume", directory / "configuration"
        for mounted in (volume, configuration):
            mounted.mkdir(exist_ok=True)
            os.chown(mounted, int(image.user), int(image.group))
        namespaces = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork"]
        enter = ["sh", "-c", ENTER, "sh", str(image.root), str(volume), str(configuration), str(CHECK.resolve())]
        server = image.as_user([*image.entrypoint, *image.command], environment)
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*namespaces, *enter, *server], stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def pid(self) -> int:
        """The server's process id outside: the one child of unshare, which makes it once its namespaces are there."""
        while self.process.poll() is None:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.01)
        raise self.failure(f"the server ended with {self.process.returncode}")

    def execute(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command inside, as `docker exec` does."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd"]
        inside = self.image.as_user(command, {**self.environment, **environment})
        return subprocess.run([*enter, *inside], capture_output=True, text=True, timeout=120, check=False)

    def wait_until_healthy(self) -> float:
        """Seconds until the image's health check passed."""
        started = time.monotonic()
        while self.execute(*self.image.health_check).returncode != 0:
            if time.monotonic() > started + READY_S_MAX:
                raise self.failure(f"the health check did not pass within {READY_S_MAX} s")
            time.sleep(0.1)
        return time.monotonic() - started

    def stop(self) -> tuple[int, float]:
        """Sends the image's stop signal to process 1 alone. Its exit code, and the seconds it took."""
        started = time.monotonic()
        os.kill(self.pid, self.image.stop_signal)
        return self.process.wait(timeout=STOP_S_MAX), time.monotonic() - started

    def failure(self, reason: str) -> SystemExit:
        """The end of the program, with what the server printed."""
        return SystemExit(f"   FAILED  {reason}\n--- what the server printed ---\n{self.log.read_text()}")


def show(image: Image) -> None:
    """The life of a server: refused, started, used, stopped, and started again as one that other machines may reach."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Container(image, directory, {}) as refused:
            code = refused.process.wait(timeout=READY_S_MAX)
            sentence = refused.log.read_text().strip()
            if code == 0 or "insecure" not in sentence:
                raise refused.failure(f"without TLS and API keys the server ended with {code}, expected a refusal")
            ok(f"without TLS and API keys it refuses to start: {sentence}")

        with Container(image, directory, {"FEATURESTORE_INSECURE": "true"}) as container:
            ok(f"started: the health check passed after {container.wait_until_healthy():.1f} s")
            confined(container)
            if "engine=native" not in container.log.read_text():
                raise container.failure("another engine serves than the native one, which the image has the library for")
            ok("gRPC is served by the native engine")
            run(container, "featurestore", "apply", "/mnt/definitions.yaml", "--yes")
            run(container, "python", "/mnt/write_and_read.py")
            run(container, "featurestore", "ingest", "customer_activity", "/mnt/customers.csv", "--where", "orders > 10")
            run(container, "featurestore", "get", "churn_model_v1", "--key", "customer_id=1,2,7,8")
            run(container, "featurestore", "list", "tables")
            stop(container)

        with Container(image, directory, secured(directory)) as container:
            ok(f"started with TLS and an API key: the health check passed after {container.wait_until_healthy():.1f} s")
            use_securely(container)
            stop(container)


def secured(directory: Path) -> dict[str, str]:
    """Makes a certificate, its key and a file of API keys for /etc/featurestore. The environment that names them."""
    configuration = directory / "configuration"
    certificate, key, api_keys = (configuration / name for name in ("certificate.pem", "key.pem", "api-keys"))
    name = ["-subj", "/CN=featurestore", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", *name]
    subprocess.run([*new, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    api_keys.write_text(f"{API_KEY}  # of the check\n")
    owner = configuration.stat()
    for path in (certificate, key, api_keys):
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(0o400)
    names = {"TLS_CERTIFICATE": certificate, "TLS_KEY": key, "API_KEYS_FILE": api_keys}
    return {f"FEATURESTORE_{name}": f"/etc/featurestore/{path.name}" for name, path in names.items()}


def use_securely(container: Container) -> None:
    """The definitions are still there; a call needs the key and a certificate that is trusted."""
    address = ["--server", "grpcs://127.0.0.1:7400", "--ca-certificate", "/etc/featurestore/certificate.pem"]
    run(container, "featurestore", "list", "services", *address, FEATURESTORE_API_KEY=API_KEY)
    wrong = container.execute("featurestore", "list", "services", *address)
    if wrong.returncode == 0:
        raise container.failure("a call without an API key was answered")
    ok(f"without the key: {wrong.stderr.strip()}")


def stop(container: Container) -> None:
    """Stops the server by the image's stop signal, and shows what it logged."""
    code, seconds = container.stop()
    name = container.image.stop_signal.name
    if code != 0:
        raise container.failure(f"after {name} the server exited with {code}, expected 0")
    ok(f"{name} to process 1: exit 0 after {seconds:.2f} s. The server's log:")
    print("".join(f"     {line}\n" for line in container.log.read_text().splitlines()), end="", flush=True)


def confined(container: Container) -> None:
    """The server's process has no privileges and cannot write to its root, as the kernel reports it."""
    process = Path(f"/proc/{container.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    users, capabilities = set(status["Uid"].split()), [status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")]
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    options = [mount[5].split(",") for mount in mounts if mount[4] == "/"][-1:]
    if users != {container.image.user} or status["NoNewPrivs"] != "1" or any(int(held, 16) for held in capabilities):
        raise container.failure(
            f"the server runs with users {users}, capabilities {capabilities}, no_new_privs {status['NoNewPrivs']}"
        )
    if not options or "ro" not in options[0]:
        raise container.failure(f"the root is mounted {options}, expected ro")
    ok(f"process 1 is user {container.image.user}, no capabilities, no_new_privs; its root is mounted read-only")


def run(container: Container, *command: str, **environment: str) -> None:
    """Runs a command inside, prints it with its output, and ends the program unless it succeeds."""
    print(f"   $ {shlex.join(command)}")
    done = container.execute(*command, **environment)
    print("".join(f"     {line}\n" for line in (done.stdout + done.stderr).splitlines()), end="", flush=True)
    if done.returncode != 0:
        raise container.failure(f"{shlex.join(command)} exited with {done.returncode}")


def ok(text: str) -> None:
    """Prints what was just found to hold."""
    print(f"   ok  {text}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, help="the image's root directory")
    parser.add_argument("configuration", type=Path, help="what buildah inspect says of the image, as JSON")
    arguments = parser.parse_args()
    show(Image(arguments.root, json.loads(arguments.configuration.read_text())["Docker"]["config"]))
