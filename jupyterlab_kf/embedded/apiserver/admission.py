"""What the operators' admission says about their objects, as the API server passes it on.

TFJob and PyTorchJob have a validating webhook: 403 with its sentence (Katib's and Istio's answer 400, Seldon's 422).
The other training jobs have none; their operators would take the object and say in an event why it never runs. Nobody
reads events of a job that never starts, so they are refused like any invalid object: 422, with the field. What is wrong
the controllers know; this module only asks them, and only about what a write changes, so that an object which an older
version stored can still be deleted.
"""

from __future__ import annotations

from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import katib, training
from jupyterlab_kf.controllers.istio import webhook
from jupyterlab_kf.controllers.seldon import validation as seldon
from jupyterlab_kf.embedded.apiserver import failures
from jupyterlab_kf.embedded.apiserver.rules import Cause
from jupyterlab_kf.errors import ForbiddenError, InvalidError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, meta

_REASONS: Final = {
    "Required value": "FieldValueRequired",
    "Invalid value": "FieldValueInvalid",
    "Forbidden": "FieldValueForbidden",
    "Unsupported value": "FieldValueNotSupported",
}


def review(kind: Kind, old: Obj | None, new: Obj) -> None:
    """Let a valid object pass; ``old`` is None for one that is created.

    Raises:
        ForbiddenError: 403, the kind's webhook denies it.
        InvalidError: 400, Katib's or Istio's webhook denies it; 422, Seldon's does, or no controller could run it.
    """
    if not kind.custom or (old is not None and old.get("spec") == new.get("spec")):
        return
    sentence = training.denial(kind, new)
    if sentence:
        raise ForbiddenError(sentence)
    sentence = katib.denial(kind, old, new) or webhook.denial(kind, new)
    if sentence:
        raise InvalidError(sentence, code=400, reason="")
    if kind.kind == kinds.SELDON_DEPLOYMENT.kind and (sentence := seldon.denial(new)):
        causes = [Cause(path, _reason(text), text) for path, text in seldon.refused(new)]
        raise failures.denied(kind, sentence, causes)
    causes = [Cause(path, _reason(text), text) for path, text in training.validate(kind, new)]
    if causes:
        raise failures.invalid(kind, str(meta(new).get("name") or ""), causes)


def _reason(text: str) -> str:
    return _REASONS.get(text.partition(":")[0], "FieldValueInvalid")
