"""From inside a pod: a service by its name, and the API server with the pod's own token."""

import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

account = Path("/var/run/secrets/kubernetes.io/serviceaccount")
for _ in range(100):
    try:
        with urllib.request.urlopen("http://web", timeout=5) as answer:
            print("http://web", answer.status)
        break
    except OSError as error:
        print("again:", error)
        time.sleep(0.3)
request = urllib.request.Request("https://kubernetes.default.svc/api/v1/pods")
request.add_header("Authorization", f"Bearer {(account / 'token').read_text()}")
try:
    urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account / "ca.crt"), timeout=10)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
