"""The names of ``seldon_core`` that classes import, for images that do not have it.

Seldon's package cannot be installed beside a current JupyterLab, and classes need of it only a base class, a result and
an exception. Where the package is there, it is used; what is not here fails at import, with its own name.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any


class SeldonMicroserviceException(Exception):  # noqa: N818  Seldon's name
    """An error with a code and a reason for the client."""

    status_code = 400

    def __init__(
        self,
        message: str,
        status_code: int | None = None,
        payload: object = None,
        reason: str = "MICROSERVICE_BAD_DATA",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = self.status_code if status_code is None else status_code
        self.payload = payload
        self.reason = reason

    def to_dict(self) -> dict[str, Any]:
        """The body of the answer, as Seldon's wrapper makes it."""
        return {"status": {"status": 1, "info": self.message, "code": -1, "reason": self.reason}}


class SeldonNotImplementedError(SeldonMicroserviceException):
    """A verb that a class does not have."""


class SeldonResponse:
    """A result with tags and metrics of its own."""

    def __init__(
        self, data: Any, tags: Mapping[str, Any] | None = None, metrics: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self.data = data
        self.tags = {} if tags is None else tags
        self.metrics = [] if metrics is None else metrics


class SeldonComponent:
    """A base class that adds nothing."""

    def __init__(self, **_: Any) -> None:
        pass

    def load(self) -> None:
        """Nothing to load."""


class Storage:
    """Where models are: here they are on this machine already."""

    @staticmethod
    def download(uri: str, out_dir: str | None = None) -> str:  # noqa: ARG004  Seldon's signature
        """The path; other addresses were for an init container to fetch."""
        return uri.removeprefix("file://")


def metric(kind: str, key: str, value: float) -> dict[str, Any]:
    """A metric as ``metrics()`` returns it."""
    return {"key": key, "type": kind, "value": value}


def provide() -> None:
    """Have ``import seldon_core`` work."""
    if "seldon_core" in sys.modules or importlib.util.find_spec("seldon_core"):
        return
    errors = {
        "SeldonMicroserviceException": SeldonMicroserviceException,
        "SeldonNotImplementedError": SeldonNotImplementedError,
    }
    users = {"SeldonComponent": SeldonComponent, "SeldonResponse": SeldonResponse, **errors}
    metrics = {
        f"create_{kind.lower()}": lambda key, value, kind=kind: metric(kind, key, value)
        for kind in ("COUNTER", "GAUGE", "TIMER")
    }
    contents: dict[str, dict[str, Any]] = {
        "": {"Storage": Storage, "__path__": []},
        "user_model": users,
        "flask_utils": errors,
        "metrics": metrics,
        "storage": {"Storage": Storage},
    }
    root = sys.modules["seldon_core"] = types.ModuleType("seldon_core", __doc__)
    for name, content in contents.items():
        module = root if not name else types.ModuleType(f"seldon_core.{name}", __doc__)
        module.__dict__.update(content)
        if name:
            sys.modules[module.__name__] = module
            setattr(root, name, module)
