"""The server's settings as options of a command: a flag each, made from the settings themselves, so that none is forgotten."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from featurestore.settings import Settings

_NO_FLAG = {"api_keys"}  # a process's arguments can be read by everybody on the machine

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="FEATURESTORE_CONFIG", help="TOML or YAML file of settings, named as the flags with underscores."
    ),
]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives ``command`` an option for each setting; it is called with them as ``flags``, None where not given."""

    def call(**options: Any) -> None:
        flags = {name: options.pop(name) for name in Settings.model_fields if name in options}
        command(flags=flags, **options)

    own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "flags"]
    made = [_parameter(name) for name in Settings.model_fields if name not in _NO_FLAG]
    call.__signature__ = inspect.Signature([*own, *made])  # type: ignore[attr-defined]
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call


def _parameter(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    default = (
        ""
        if field.default is None
        else f" [default: {str(field.default).lower() if isinstance(field.default, bool) else field.default}]"
    )
    text = f"{field.description}{default}"
    option = typer.Option(
        f"--{name.replace('_', '-')}", help=text[0].upper() + text[1:], show_default=False, metavar=_choices(field.annotation)
    )
    kind: Any = _flag_type(field.annotation)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def _choices(annotation: Any) -> str | None:
    """The values that are allowed, where they are few words; else the type stands there."""
    return "|".join(get_args(annotation)) if get_origin(annotation) is Literal else None


def _flag_type(annotation: Any) -> Any:
    """What typer parses; the settings check the value themselves and say what is wrong in their own words."""
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    if get_origin(annotation) is Literal:
        return str
    return arguments[0] if arguments else annotation
