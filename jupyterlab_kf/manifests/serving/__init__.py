"""Endpoints as manifests, and back: SeldonDeployments, TF Serving and Triton, InferenceServices, who may call them.

Each module owns one family; none of them does I/O, reads a clock or draws a random number. A SeldonDeployment's
VirtualService is its operator's to write, so none is written here for one.
"""
