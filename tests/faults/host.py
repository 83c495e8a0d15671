"""A process that starts servers by forking, so that a start costs no imports: run by ``tests/faults/servers.py``.

    python -m tests.faults.host

Takes a line of JSON with settings, forks a server with them, prints its process id, and waits for its end before it takes the
next line. Servers log to standard error. ``synced``, where given, is a file in which a server keeps what it has synced
(``note_syncs.c``): what a loss of power would leave.
"""

import gc
import json
import os
import sys

from featurestore.errors import FeatureStoreError
from featurestore.server.logs import configure_logs
from featurestore.server.run import run_server
from featurestore.settings import load_settings


def serve(flags: dict[str, str]) -> int:
    synced = flags.pop("synced", None)
    if synced is not None:
        os.environ["SYNCED_NOTES"] = synced
    configure_logs("json", "info")
    try:
        run_server(load_settings(flags)[0])
    except FeatureStoreError as error:
        print(json.dumps({"event": "refused", "message": error.message}), file=sys.stderr, flush=True)
        return 1
    return 0


def main() -> None:
    gc.freeze()
    for line in sys.stdin:
        flags = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(serve(flags))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"event": "ended", "code": os.waitstatus_to_exitcode(status)}), file=sys.stderr, flush=True)


main()
