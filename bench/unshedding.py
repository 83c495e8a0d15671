"""``featurestore serve`` that takes up every call, to see what admission changes.

python -m bench.unshedding serve --directory DIR
"""

from typing import Any

from featurestore.cli.main import main
from featurestore.server.methods import Methods, UnaryMethod

_init = Methods.__init__


def _init_without_shedding(self: Methods, *arguments: Any) -> None:
    _init(self, *arguments)
    for path, method in self.by_path.items():
        if isinstance(method, UnaryMethod):
            self.by_path[path] = method._replace(sheds=False)


if __name__ == "__main__":
    Methods.__init__ = _init_without_shedding  # type: ignore[assignment,method-assign]
    main()
