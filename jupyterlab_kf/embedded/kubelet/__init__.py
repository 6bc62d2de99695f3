"""The node: pods as processes.

`node` follows the registry and owns what pods share; `worker` looks after one pod, `slots` is what it knows of each
container; `states` decides, purely, what happens to it; `specs`, `environment` and `fields` say what a container gets
and what it cannot have; `ports` gives out addresses; `processes` starts and signals what runs in pods, `makers` the
installers of their environments; `probes` asks a container how it is and `probing` says when and what follows; `logs`
and `machine` are what their names say. Nothing here decides where a pod runs.
"""

from jupyterlab_kf.embedded.kubelet.node import Kubelet

__all__ = ["Kubelet"]
