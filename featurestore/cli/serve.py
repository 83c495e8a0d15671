"""``featurestore serve``: runs a server in the foreground until SIGTERM or SIGINT."""

import sys
from typing import Any

from featurestore.cli.importing import held_back_collector
from featurestore.cli.settings_options import ConfigOption, with_settings


@with_settings
def serve(*, flags: dict[str, Any], config: ConfigOption = None) -> None:
    """Serve features over gRPC.

    Listens on this machine alone unless told otherwise. SIGTERM and Ctrl-C drain: calls in flight finish, and the process
    exits 0. With --workers N, N processes answer reads beside one that owns the store and writes, and what dies is started
    again; `featurestore status` shows them. Each setting is also an environment variable, FEATURESTORE_LISTEN for --listen,
    and a line of --config FILE; a flag wins over the environment, and that over the file.

    \b
    featurestore serve
    featurestore serve --listen 127.0.0.1:7401 --directory /var/lib/featurestore
    featurestore serve --listen 0.0.0.0:7400 --tls-certificate server.pem --tls-key server.key --api-keys-file keys.txt
    featurestore serve --workers 4
    featurestore serve --config featurestore.toml --log-format json
    """
    with held_back_collector():
        from featurestore.cli.progress import ShownBytes
        from featurestore.server.logs import configure_logs
        from featurestore.server.run import run_server
        from featurestore.service import LoggedProgress
        from featurestore.settings import load_settings

    settings, _ = load_settings(flags, config)
    configure_logs(settings.log_format, settings.log_level)
    run_server(settings, (lambda: ShownBytes("filling tables").update) if sys.stderr.isatty() else LoggedProgress)
