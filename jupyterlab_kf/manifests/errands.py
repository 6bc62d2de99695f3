"""Pods of a moment's life beside a job, which do with a volume what only a pod can: read from it, and write to it.

They have the job's image, user and place, run the launcher and nothing else, and say what they have to say in their
log: so they need no right but to pods. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.errors import ManifestError
from jupyterlab_kf.manifests import pods, training
from jupyterlab_kf.manifests.training import CODE_PATH, CODE_VOLUME, LAUNCH
from jupyterlab_kf.model import Obj, meta

STORE_PATH: Final = "/kf/store"
# What a namespace with a quota wants to know of every pod: little enough to find room beside any job.
_RESOURCES: Final = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}


def reader(job: Mapping[str, Any], name: str, mark: str, arguments: Sequence[str]) -> Obj:
    """A pod that reads a job's output volume and writes it to its log; it belongs to the job."""
    output = training.output_of(job)
    if output is None or not output.claim:
        raise ManifestError(f"{job.get('kind')} {meta(job).get('name')} has no output volume")
    template = next(iter(training.templates(job).values()))
    code = next(one for one in template["spec"]["volumes"] if one.get("name") == CODE_VOLUME)
    pod = _pod(job, name, mark, arguments)
    pod["metadata"] |= training.owner_patch(job)["metadata"]
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    container["env"] = [{"name": "KF_OUTPUT", "value": output.path}]
    container["volumeMounts"] += [{"name": output.volume["name"], "mountPath": output.mount, "readOnly": True}]
    spec["volumes"] = [deepcopy(code), deepcopy(output.volume)]
    return pod


def keeper(job: Mapping[str, Any], name: str, mark: str, *, claim: str, digest: str, config_maps: Sequence[str]) -> Obj:
    """A pod that puts the packed code that these ConfigMaps carry onto a volume, or says whether it is there."""
    pod = _pod(job, name, mark, ["store", digest])
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    volume = pods.claim_volume(claim)
    container["env"] = [{"name": "KF_STORE", "value": f"{STORE_PATH}/{training.SHELF}"}]
    container["volumeMounts"] += [{"name": volume["name"], "mountPath": STORE_PATH}]
    spec["volumes"] = [training.code_volume(config_maps), volume]
    return pod


def _pod(job: Mapping[str, Any], name: str, mark: str, arguments: Sequence[str]) -> Obj:
    template = next(iter(training.templates(job).values()))["spec"]
    main = template["containers"][0]
    marks = {names.LABEL_MANAGED_BY: names.FIELD_MANAGER, names.LABEL_JOB: meta(job)["name"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta(job)["namespace"],
            "labels": {**marks, names.LABEL_SUBMISSION: mark},
            "annotations": {"sidecar.istio.io/inject": "false"},
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            # As who writes the files in the job, who alone may be allowed to read them.
            **({"securityContext": deepcopy(context)} if (context := template.get("securityContext")) else {}),
            # Where the job may be placed its volume may be, and perhaps nowhere else.
            **{key: deepcopy(value) for key in ("nodeSelector", "tolerations") if (value := template.get(key))},
            "containers": [
                {
                    "name": "errand",
                    "image": main.get("image"),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", LAUNCH, *arguments],
                    "resources": deepcopy(_RESOURCES),
                    **({"securityContext": deepcopy(own)} if (own := main.get("securityContext")) else {}),
                    "volumeMounts": [{"name": CODE_VOLUME, "mountPath": CODE_PATH, "readOnly": True}],
                }
            ],
        },
    }
