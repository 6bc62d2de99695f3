"""The node: pods as processes.

`node` follows the registry and gives each pod a `worker`, which looks after it; `commons` is what pods share, and
`slots` what a worker knows of each container; `registration` is the Node object, and `claims` are folders. `states`
decides, purely, what happens to a pod; `specs`, `environment` and `fields` say what a container gets and what it cannot
have; `ports` gives out addresses; `processes` starts and signals what runs in pods; `pulling` has an image's
environment ready, and `makers` are the installers; `probes` asks a container how it is and `probing` says when and what
follows; `logs` and `machine` are what their names say. Nothing here decides where a pod runs.
"""

from jupyterlab_kf.embedded.kubelet.node import Kubelet

__all__ = ["Kubelet"]
