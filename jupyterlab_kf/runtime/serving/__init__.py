"""What answers predictions inside a pod: ``unit`` (one model, router, transformer, ...) and ``engine`` (a graph).

Run as ``python -m jupyterlab_kf.runtime.serving unit ...``, or as a zip with a two-line ``__main__.py`` of its own.
Nothing here imports the rest of the project, and imports within are relative, so that the folder can be shipped under
any name.

    messages                        what all protocols meet in: Message, Feedback, Refusal
    tensors, seldon, openinference, tfserving      pure: payloads <-> messages, one module a protocol
    component                       Unit: a user's class or a model file behind Seldon's verbs, in process
    loading, flavours               from a name or a path to a Unit
    rest, rpc                       the same Unit over HTTP and gRPC
    running, batching, metrics      where a call runs, how calls are joined, what is counted
    server, cli                     the process: ports, workers, readiness, drain
"""
