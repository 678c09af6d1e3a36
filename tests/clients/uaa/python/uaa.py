"""A UAA of one's own, started from the program in UAA_BIN and ended with its standard input."""

import json
import os
import pathlib
import subprocess
import tempfile
import time


class Uaa:
    """A running UAA; `url`, `ca`, `admin_user`, `admin_password` and `client_secrets` as it says."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="weir-uaa-")
        with open(pathlib.Path(self.folder.name) / "log", "wb") as log:
            self.process = subprocess.Popen(
                [os.environ["UAA_BIN"], self.folder.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        description = pathlib.Path(self.folder.name) / "uaa.json"
        deadline = time.monotonic() + 60
        while not description.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((pathlib.Path(self.folder.name) / "log").read_text())
            time.sleep(0.05)
        self.__dict__.update(json.loads(description.read_text()))
        self.issuer = self.url + "/oauth/token"

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.folder.cleanup()
