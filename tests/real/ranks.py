"""What ranks of a training do: wait for each other, so that one that starts late is not left behind.

An operator ends a job with its leader's success. A leader that waits for nobody may be done before its peers are up,
and what they would have said, written and measured is never there.
"""

from __future__ import annotations

MEET = """
def meet():
    import os, socket, time
    others, until = int(os.environ["WORLD_SIZE"]) - 1, time.monotonic() + 120
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if os.environ["RANK"] == "0":
        with socket.create_server(("", address[1])) as server:
            server.settimeout(120)
            for peer in [server.accept()[0] for _ in range(others)]:
                with peer:
                    peer.sendall(b"go")
        return
    while time.monotonic() < until:
        try:
            with socket.create_connection(address, timeout=120) as peer:
                if peer.recv(2) == b"go":
                    return
        except OSError:
            pass  # it is not up yet
        time.sleep(0.1)
    raise TimeoutError("the first rank did not come")
"""
"""A function for the program of a PyTorchJob: returns when all ranks have called it."""
