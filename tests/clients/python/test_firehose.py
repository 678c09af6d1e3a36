"""The firehose and an app's stream through cloudfoundry-client, the Python library of the field.

WEIR_ENDPOINTS   endpoints.json of the stack
WEIR_TOKEN       the firehose token (default: of the stack's administrator, by UAA's password grant)
WEIR_EMIT        command that sends its standard input as log lines; `--source-id ID` is appended
"""

import base64
import json
import os
import shlex
import ssl
import subprocess
import threading
import time
import unittest
import urllib.parse
import urllib.request
import uuid

from cloudfoundry_client.doppler.client import DopplerClient
from cloudfoundry_client.doppler.websocket_envelope_reader import WebsocketFrameReader
from cloudfoundry_client.dropsonde.envelope_pb2 import Envelope

PATIENCE = 30.0


class Credentials:
    """Stands for the OAuth client: the library only asks for the token."""

    def __init__(self, token):
        self._access_token = token


def read_stack():
    path = os.environ.get("WEIR_ENDPOINTS")
    if not path:
        raise unittest.SkipTest("no stack: set WEIR_ENDPOINTS (tests/clients/run does)")
    with open(path, encoding="utf-8") as file:
        endpoints = json.load(file)
    token = os.environ.get("WEIR_TOKEN") or log_in(endpoints)
    token = token.strip()
    if token.lower().startswith("bearer "):
        token = token[len("bearer ") :]
    # The library trusts what the process trusts.
    os.environ["WEBSOCKET_CLIENT_CA_BUNDLE"] = endpoints["ca"]
    return endpoints, token


def log_in(endpoints):
    """The token that the library's OAuth client would get."""
    fields = {"grant_type": "password", "username": endpoints["admin_user"], "password": endpoints["admin_password"]}
    request = urllib.request.Request(f"{endpoints['uaa']}/oauth/token", urllib.parse.urlencode(fields).encode())
    request.add_header("Authorization", "Basic " + base64.b64encode(b"cf:").decode())
    trust = ssl.create_default_context(cafile=endpoints["ca"])
    with urllib.request.urlopen(request, context=trust, timeout=PATIENCE) as answer:
        return json.load(answer)["access_token"]


def emit(source_id, lines):
    command = shlex.split(os.environ["WEIR_EMIT"]) + ["--source-id", source_id]
    text = "".join(line + "\n" for line in lines)
    subprocess.run(command, input=text.encode(), check=True, timeout=PATIENCE)


class Collector:
    """Reads a stream in a thread; keeps the messages of one source, apart from the probes."""

    def __init__(self, envelopes, source_id):
        self.lock = threading.Lock()
        self.lines = []
        self.kinds = set()
        self.probed = False
        self.error = None
        thread = threading.Thread(target=self._read, args=(envelopes, source_id), daemon=True)
        thread.start()

    def _read(self, envelopes, source_id):
        try:
            for envelope in envelopes:
                if envelope.tags.get("source_id") != source_id:
                    continue
                with self.lock:
                    self.kinds.add(envelope.eventType)
                    message = envelope.logMessage.message.decode()
                    if message == "probe":
                        self.probed = True
                    else:
                        self.lines.append(message)
        except Exception as error:  # reported by the waiting test
            self.error = error

    def wait(self, what, condition):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with self.lock:
                if condition():
                    return
            if self.error is not None:
                raise AssertionError(f"{what}: the stream ended") from self.error
            time.sleep(0.02)
        raise AssertionError(f"{what}: not within {PATIENCE} s, {len(self.lines)} lines so far")

    def wait_until_in_place(self, source_id):
        """Probes until one arrives: the protocol does not acknowledge a subscription."""
        deadline = time.monotonic() + PATIENCE
        while not self.probed and time.monotonic() < deadline and self.error is None:
            emit(source_id, ["probe"])
            time.sleep(0.1)
        if not self.probed:
            raise AssertionError("no probe arrived") from self.error


class FirehoseTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.endpoints, cls.token = read_stack()

    def firehose(self, token):
        url = f"{self.endpoints['traffic_controller']}/firehose/python-{uuid.uuid4()}"
        with WebsocketFrameReader(url, lambda: token) as frames:
            for frame in frames:
                envelope = Envelope()
                envelope.ParseFromString(frame)
                yield envelope

    def check_stream(self, envelopes, source_id):
        collector = Collector(envelopes, source_id)
        collector.wait_until_in_place(source_id)
        lines = [f"line {number} with ümlauts and a ☃" for number in range(500)]
        emit(source_id, lines)
        collector.wait("all lines", lambda: len(collector.lines) >= len(lines))
        self.assertEqual(sorted(collector.lines), sorted(lines))
        self.assertEqual(collector.kinds, {Envelope.LogMessage})

    def test_firehose(self):
        """Each line exactly once, byte for byte."""
        self.check_stream(self.firehose(self.token), f"python-{uuid.uuid4()}")

    def test_app_stream(self):
        """DopplerClient.stream_logs, as `cloudfoundry-client` itself uses it."""
        app = str(uuid.uuid4())
        client = DopplerClient(self.endpoints["traffic_controller"], None, True, Credentials(self.token))
        self.check_stream(client.stream_logs(app), app)

    def test_wrong_token(self):
        """The library sees a refused handshake."""
        with self.assertRaisesRegex(Exception, "401"):
            next(self.firehose("nonsense"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
