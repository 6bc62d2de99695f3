"""The server side of the one-machine cluster, its parts named as Kubernetes names its own.

Knows nothing of notebooks, magics or the client: they meet at the API only. `daemon` puts the parts together; each part
says in its own docstring what it owns and what it refuses.
"""
