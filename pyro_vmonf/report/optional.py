"""The libraries that only the report needs: jinja2 and plotly."""

import importlib
from typing import Any

__all__ = ["optional_module"]


def optional_module(name: str, extra: str = "report") -> Any:
    """Returns a module that is not among the library's requirements.

    Args:
        name: The module, such as ``"plotly.offline"``.
        extra: The extra of this library that installs it.

    Raises:
        ImportError: Saying what to install, if it is not there.

    Examples:
        >>> optional_module("no_such_module")
        Traceback (most recent call last):
            ...
        ImportError: no_such_module is not installed: pip install 'pyro-vmonf[report]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise ImportError(f"{top} is not installed: pip install 'pyro-vmonf[{extra}]'") from error
