"""A failure of the user's code as a refusal that names the user's line.

Nothing is hidden: the whole traceback goes to the log, the last lines of the user's own code to the client. A class
may say more: an exception with ``status_code``, or a ``model_error_handler`` (a function, or Flask's Blueprint as for
Seldon's wrapper).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from .messages import Refusal

OWN = str(Path(__file__).parent)
SHOWN = 3
LONGEST = 1000


def unimplemented(error: BaseException) -> bool:
    """Whether an exception says that there is no such verb."""
    return isinstance(error, NotImplementedError) or any(
        one.__name__ == "SeldonNotImplementedError" for one in type(error).__mro__
    )


def blamed(error: BaseException, unit: str, verb: str, target: object) -> Refusal:
    """The refusal for what was raised in ``target.verb``."""
    sys.stderr.write("".join(traceback.format_exception(error)))
    sys.stderr.flush()
    answered = handled(error, target)
    if answered is not None:
        return answered
    info = getattr(error, "message", None) or str(error) or type(error).__name__
    code = getattr(error, "status_code", None)
    if isinstance(code, int) and 400 <= code < 600:  # noqa: PLR2004  HTTP's errors
        return Refusal(str(info)[:LONGEST], code=code, reason=str(getattr(error, "reason", "MICROSERVICE_BAD_DATA")))
    text = f"{unit}: {verb}() raised {type(error).__name__}: {str(info)[:LONGEST]}{where(error)}"
    return Refusal(text, code=500, reason="MICROSERVICE_INTERNAL_ERROR")


def where(error: BaseException) -> str:
    """The last lines of a traceback that are not ours, innermost last."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(OWN)]
    shown = [f"{Path(one.filename).name}:{one.lineno} in {one.name}: {one.line}" for one in frames[-SHOWN:]]
    return f" [{' | '.join(shown)}]" if shown else ""


def handled(error: BaseException, target: object) -> Refusal | None:
    """What the class' own ``model_error_handler`` makes of an exception, if it has one that takes it."""
    handler: Any = getattr(target, "model_error_handler", None)
    if handler is None:
        return None
    if hasattr(handler, "deferred_functions"):
        return _by_flask(handler, error)
    if not callable(handler):
        return None
    made = handler(error)
    if made is None:
        return None
    body, code = made if isinstance(made, tuple) else (made, 500)
    return Refusal(str(error), code=int(code), body=json.dumps(body).encode())


def _by_flask(blueprint: Any, error: BaseException) -> Refusal | None:
    flask: Any = importlib.import_module("flask")

    app = flask.Flask("unit")
    app.register_blueprint(blueprint)
    with app.test_request_context("/predict"), contextlib.suppress(type(error)):
        response = app.make_response(app.handle_user_exception(error))
        return Refusal(str(error), code=response.status_code, body=response.get_data())
    return None
