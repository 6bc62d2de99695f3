"""Each worker of a TFJob greets every other at its name in TF_CONFIG, and hears from all of them."""

import json
import os
import socket
import threading
import time

config = json.loads(os.environ["TF_CONFIG"])
me, workers = config["task"]["index"], config["cluster"]["worker"]
server = socket.create_server(("", int(workers[me].rpartition(":")[2])))
heard = []


def listen() -> None:
    while len(heard) < len(workers) - 1:
        peer, _ = server.accept()
        heard.append(peer.recv(16).decode())


listener = threading.Thread(target=listen)
listener.start()
for index, address in enumerate(workers):
    host, _, port = address.rpartition(":")
    while index != me:
        try:
            with socket.create_connection((host, int(port)), 2) as peer:
                peer.sendall(str(me).encode())
            break
        except OSError as error:
            print("again:", error)
            time.sleep(0.3)
listener.join()
print("heard from", len(heard))
