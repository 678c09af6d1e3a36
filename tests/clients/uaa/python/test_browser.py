"""A real browser signs in: Chromium by its driver, without JavaScript. UAA_SCREENSHOTS=DIR keeps what it saw."""

import base64
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import requests

from uaa import Uaa

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """As much of WebDriver as is needed."""

    def __init__(self, dark=False):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.profile = tempfile.TemporaryDirectory(prefix="weir-chromium-")
        self.driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while True:
            try:
                requests.get(f"{self.base}/status", timeout=2)
                break
            except requests.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--window-size=900,760", f"--user-data-dir={self.profile.name}",
        ] + (["--force-dark-mode", "--enable-features=WebUIDarkMode"] if dark else [])
        options = {
            "binary": CHROMIUM,
            "args": arguments,
            "prefs": {"profile.managed_default_content_settings.javascript": 2},
        }
        capabilities = {"alwaysMatch": {"acceptInsecureCerts": True, "goog:chromeOptions": options}}
        session = self.call("POST", "/session", {"capabilities": capabilities})
        self.base += f"/session/{session['sessionId']}"

    def call(self, method, path, body=None):
        answer = requests.request(method, self.base + path, json=body, timeout=60)
        value = answer.json()["value"]
        if not answer.ok:
            raise AssertionError(value)
        return value

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    def url(self):
        return self.call("GET", "/url")

    def find(self, selector):
        return self.call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def text(self, selector="main"):
        return self.call("GET", f"/element/{self.find(selector)}/text")

    def type(self, selector, text):
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def click(self, selector):
        self.call("POST", f"/element/{self.find(selector)}/click", {})

    def until(self, wanted, look):
        """Waits until something that is seen contains what is wanted: a click may return before its page is there."""
        deadline = time.monotonic() + 20
        while True:
            try:
                seen = look()
            except AssertionError as error:
                seen = str(error)
            if wanted in seen:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"{wanted!r} is not in {seen!r}")
            time.sleep(0.05)

    def picture(self, name):
        folder = os.environ.get("UAA_SCREENSHOTS")
        if folder:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            content = base64.b64decode(self.call("GET", "/screenshot"))
            (pathlib.Path(folder) / f"{name}.png").write_bytes(content)

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(timeout=20)
            self.profile.cleanup()


@unittest.skipUnless(CHROMIUM and DRIVER, "no chromium with its chromedriver on PATH")
class SignIn(unittest.TestCase):
    """Somebody signs in, is asked, agrees, and comes back to the client."""

    @classmethod
    def setUpClass(cls):
        cls.uaa = Uaa()
        uaa = cls.uaa
        token = requests.post(
            f"{uaa.url}/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=("admin", uaa.client_secrets["admin"]),
            verify=uaa.ca,
        ).json()["access_token"]
        client = {
            "client_id": "dashboard",
            "name": "Team dashboard",
            "client_secret": "x",
            "authorized_grant_types": ["authorization_code"],
            "scope": ["openid", "cloud_controller.read", "scim.userids"],
            # Back to ourselves: any page will do.
            "redirect_uri": [f"{uaa.url}/healthz"],
        }
        headers = {"Authorization": f"bearer {token}"}
        requests.post(f"{uaa.url}/oauth/clients", json=client, headers=headers, verify=uaa.ca).raise_for_status()

    @classmethod
    def tearDownClass(cls):
        cls.uaa.stop()

    def walk(self, browser, prefix):
        uaa = self.uaa
        browser.go(f"{uaa.url}/oauth/authorize?response_type=code&client_id=dashboard&state=s")
        self.assertIn("/login?continue=", browser.url())
        self.assertIn("Team dashboard", browser.text())
        browser.picture(f"{prefix}-1-login")
        browser.type("#username", uaa.admin_user)
        browser.type("#password", "wrong")
        browser.click("button[type=submit]")
        browser.until("do not belong together", lambda: browser.text("[role=alert]"))
        browser.picture(f"{prefix}-2-wrong")
        browser.type("#password", uaa.admin_password)
        browser.click("button[type=submit]")
        browser.until("Allow Team dashboard?", browser.text)
        browser.picture(f"{prefix}-3-consent")
        browser.click("button[value=true]")
        browser.until("/healthz?code=", browser.url)
        browser.go(f"{uaa.url}/")
        self.assertIn(uaa.admin_user, browser.text())
        browser.picture(f"{prefix}-4-home")
        browser.go(f"{uaa.url}/passcode")
        self.assertEqual(len(browser.text("code")), 16)
        browser.picture(f"{prefix}-5-passcode")
        browser.go(f"{uaa.url}/oauth/authorize?client_id=dashboard&redirect_uri=https://evil.example/")
        self.assertIn("This does not work", browser.text())
        browser.picture(f"{prefix}-6-refused")
        browser.go(f"{uaa.url}/")
        browser.click("form button")
        browser.until("/login", browser.url)

    def test_sign_in(self):
        browser = Browser()
        try:
            self.walk(browser, "light")
        finally:
            browser.close()

    def test_the_dark_page(self):
        browser = Browser(dark=True)
        try:
            browser.go(f"{self.uaa.url}/login")
            browser.picture("dark-1-login")
            self.assertIn("Log in", browser.text("h1"))
        finally:
            browser.close()


if __name__ == "__main__":
    unittest.main()
