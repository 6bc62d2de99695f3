"""The verbs that people think in: train, watch, explain, fetch. Everything above calls these; they display nothing.

Services write and read Kubernetes objects through one client and never ask which cluster it is.
"""
