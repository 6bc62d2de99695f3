"""The client side: which cluster, and the verbs get, list, create, apply, patch, delete, watch and logs.

Nothing above this package asks whether a cluster is near or far; nothing in it knows what an object means.
"""
