"""The node: pods as processes.

`node` follows the registry and owns what pods share; `worker` looks after one pod; `states` decides, purely, what
happens to it; `specs`, `environment` and `fields` say what a container gets and what it cannot have; `processes` is the
only place that starts and signals anything; `probes`, `logs` and `machine` are what their names say. Nothing here
decides where a pod runs.
"""

from jupyterlab_kf.embedded.kubelet.node import Kubelet

__all__ = ["Kubelet"]
