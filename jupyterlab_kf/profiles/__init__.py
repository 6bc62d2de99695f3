"""Hardware profiles: hardware by name, the same for hub servers, training workers, trials, model servers and kernels.

Owns the one schema of ``profiles.yaml``: values (`values`), the reader that names lines (`reading`), and what a profile
makes of a pod, a KubeSpawner and a kernel (`applying`). Pure: text and values in, values out; which file is read is the
business of :mod:`jupyterlab_kf.settings`. Refuses a file with any fault as a whole, with all its faults: half a list of
hardware is worse than none.
"""

from __future__ import annotations

from jupyterlab_kf.profiles.applying import (
    Choice,
    Hardware,
    choose,
    kernel_spec,
    kubespawner_override,
    pod_template,
)
from jupyterlab_kf.profiles.reading import check, read
from jupyterlab_kf.profiles.sections import Problem
from jupyterlab_kf.profiles.values import (
    EVERYBODY,
    Accelerator,
    Amount,
    Catalogue,
    Deprecation,
    Limits,
    Profile,
    Toleration,
    Use,
    Volume,
)

__all__ = [
    "EVERYBODY",
    "Accelerator",
    "Amount",
    "Catalogue",
    "Choice",
    "Deprecation",
    "Hardware",
    "Limits",
    "Problem",
    "Profile",
    "Toleration",
    "Use",
    "Volume",
    "check",
    "choose",
    "kernel_spec",
    "kubespawner_override",
    "pod_template",
    "read",
]
