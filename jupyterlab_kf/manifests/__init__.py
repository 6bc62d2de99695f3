"""Codecs between what people ask for and Kubernetes objects: spec to manifest, object to status.

Everything here is pure: no I/O, no clock, no randomness; whatever varies is handed in.
"""
