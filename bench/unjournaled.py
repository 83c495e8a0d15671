"""``featurestore serve`` without a journal, to see what the journal costs: nothing outlives the process.

python -m bench.unjournaled serve --directory DIR
"""

from typing import Any

from featurestore.cli.main import main
from featurestore.service import OnlineStore

_open = OnlineStore.open


def _open_without_journal(*arguments: Any, durability: Any, **options: Any) -> OnlineStore:
    return _open(*arguments, **options)


if __name__ == "__main__":
    OnlineStore.open = _open_without_journal  # type: ignore[assignment,method-assign]
    main()
