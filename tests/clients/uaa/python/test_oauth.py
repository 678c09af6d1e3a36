"""Authlib and oauthlib against a UAA: grants, discovery, code flow with PKCE, id tokens, revocation."""

import html
import re
import unittest
import urllib.parse

import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.integrations.base_client.errors import OAuthError
from joserfc import jwt
from joserfc.jwk import KeySet
from oauthlib.oauth2 import BackendApplicationClient, LegacyApplicationClient
from oauthlib.oauth2.rfc6749.errors import InvalidGrantError, InvalidClientError, InvalidScopeError, OAuth2Error
from requests_oauthlib import OAuth2Session as OauthlibSession

from uaa import Uaa

REDIRECT = "https://app.example/cb"


def setUpModule():
    global uaa
    uaa = Uaa()
    token = client_token("admin")
    headers = {"Authorization": f"bearer {token}"}
    user = {
        "userName": "marissa",
        "password": "eucalyptus",
        "name": {"givenName": "Marissa", "familyName": "Bloggs"},
        "emails": [{"value": "marissa@example.com", "primary": True}],
    }
    requests.post(f"{uaa.url}/Users", json=user, headers=headers, verify=uaa.ca).raise_for_status()
    client = {
        "client_id": "web app",
        "client_secret": "a secret: 100% + more",
        "authorized_grant_types": ["authorization_code", "refresh_token"],
        "scope": ["openid", "cloud_controller.read"],
        "redirect_uri": [REDIRECT],
        "autoapprove": True,
    }
    refused = requests.post(f"{uaa.url}/oauth/clients", json=client, headers=headers, verify=uaa.ca)
    assert refused.status_code == 400, refused.text  # a blank is none of an id's characters
    client["client_id"] = "web-app"
    requests.post(f"{uaa.url}/oauth/clients", json=client, headers=headers, verify=uaa.ca).raise_for_status()


def tearDownModule():
    uaa.stop()


def client_token(client_id):
    answer = requests.post(
        f"{uaa.url}/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(client_id, uaa.client_secrets[client_id]),
        verify=uaa.ca,
    )
    answer.raise_for_status()
    return answer.json()["access_token"]


def discover():
    return requests.get(f"{uaa.issuer}/.well-known/openid-configuration", verify=uaa.ca).json()


def claims(token):
    """The claims of a token, checked by joserfc with the published keys."""
    keys = KeySet.import_key_set(requests.get(discover()["jwks_uri"], verify=uaa.ca).json())
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def log_in(url, user="marissa", password="eucalyptus"):
    """What a browser does: follows to the login page, fills it in, and stops where the client is led to."""
    browser = requests.Session()
    browser.verify = uaa.ca
    # Or an environment variable with another CA would win.
    browser.trust_env = False
    browser.headers["Accept"] = "text/html"
    page = browser.get(url)
    assert page.url.startswith(f"{uaa.url}/login?"), page.url
    fields = {name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text)}
    answer = browser.post(
        f"{uaa.url}/login.do",
        data={**fields, "username": user, "password": password},
        headers={"Origin": uaa.url},
        allow_redirects=False,
    )
    while answer.is_redirect and not answer.headers["Location"].startswith(REDIRECT):
        answer = browser.get(urllib.parse.urljoin(uaa.url, answer.headers["Location"]), allow_redirects=False)
    return answer.headers["Location"]


class Authlib(unittest.TestCase):
    """Authlib, as a client of every kind."""

    def session(self, client_id="web-app", secret="a secret: 100% + more", **more):
        session = AuthlibSession(client_id, secret, redirect_uri=REDIRECT, **more)
        session.verify = uaa.ca
        session.trust_env = False
        return session

    def test_code_flow_with_pkce_and_id_token(self):
        metadata = discover()
        session = self.session(scope="openid cloud_controller.read", code_challenge_method="S256")
        verifier = "v" * 64
        url, state = session.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=verifier, nonce="n-0S6_WzA2Mj"
        )
        back = log_in(url)
        token = session.fetch_token(
            metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier
        )
        self.assertEqual(token["scope"], "cloud_controller.read openid")
        identity = claims(token["id_token"])
        self.assertEqual(identity["iss"], metadata["issuer"])
        self.assertEqual(identity["aud"], ["web-app"])
        self.assertEqual(identity["nonce"], "n-0S6_WzA2Mj")
        self.assertEqual(identity["email"], "marissa@example.com")
        info = session.get(metadata["userinfo_endpoint"]).json()
        self.assertEqual(info["sub"], identity["sub"])
        self.assertEqual(info["name"], "Marissa Bloggs")
        old = token["access_token"]
        fresh = session.refresh_token(metadata["token_endpoint"])
        self.assertNotEqual(fresh["access_token"], old)
        session.revoke_token(metadata["revocation_endpoint"], token=fresh["access_token"]).raise_for_status()
        self.assertEqual(session.get(metadata["userinfo_endpoint"]).status_code, 401)

    def test_wrong_verifier_and_replay(self):
        metadata = discover()
        session = self.session(scope="openid", code_challenge_method="S256")
        url, _ = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier="v" * 64)
        back = log_in(url)
        with self.assertRaises(OAuthError) as caught:
            session.fetch_token(metadata["token_endpoint"], authorization_response=back, code_verifier="w" * 64)
        self.assertEqual(caught.exception.error, "invalid_grant")
        with self.assertRaises(OAuthError):
            session.fetch_token(metadata["token_endpoint"], authorization_response=back, code_verifier="v" * 64)

    def test_client_credentials_by_header_and_form(self):
        for method in ["client_secret_basic", "client_secret_post"]:
            session = self.session("doppler", uaa.client_secrets["doppler"], token_endpoint_auth_method=method)
            token = session.fetch_token(f"{uaa.url}/oauth/token", grant_type="client_credentials")
            self.assertEqual(token["scope"], "uaa.resource")
            answer = session.introspect_token(f"{uaa.url}/introspect", token=token["access_token"])
            self.assertTrue(answer.json()["active"])

    def test_password_grant_of_the_cli(self):
        # Left to itself Authlib would take an empty secret for none.
        session = self.session("cf", "", token_endpoint_auth_method="client_secret_basic")
        token = session.fetch_token(f"{uaa.url}/oauth/token", username="marissa", password="eucalyptus")
        self.assertEqual(claims(token["access_token"])["user_name"], "marissa")
        with self.assertRaises(OAuthError) as caught:
            session.fetch_token(f"{uaa.url}/oauth/token", username="marissa", password="wrong")
        self.assertEqual(caught.exception.error, "unauthorized")


class Oauthlib(unittest.TestCase):
    """oauthlib, by requests-oauthlib."""

    def test_code_flow(self):
        metadata = discover()
        session = OauthlibSession("web-app", redirect_uri=REDIRECT, scope=["openid"], pkce="S256")
        url, _ = session.authorization_url(metadata["authorization_endpoint"])
        token = session.fetch_token(
            metadata["token_endpoint"],
            authorization_response=log_in(url),
            client_secret="a secret: 100% + more",
            verify=uaa.ca,
        )
        self.assertEqual(token["scope"], ["openid"])
        self.assertEqual(claims(token["access_token"])["grant_type"], "authorization_code")
        fresh = session.refresh_token(
            metadata["token_endpoint"], auth=("web-app", "a secret: 100% + more"), verify=uaa.ca
        )
        self.assertIn("access_token", fresh)

    def test_somebody_elses_state(self):
        session = OauthlibSession("web-app", redirect_uri=REDIRECT, scope=["openid"])
        url, _ = session.authorization_url(discover()["authorization_endpoint"], state="mine")
        back = log_in(url)
        self.assertIn("state=mine", back)
        other = OauthlibSession("web-app", redirect_uri=REDIRECT, scope=["openid"], state="other")
        with self.assertRaises(OAuth2Error):
            other.fetch_token(f"{uaa.url}/oauth/token", authorization_response=back, client_secret="x", verify=uaa.ca)

    def test_errors_have_their_classes(self):
        backend = OauthlibSession(client=BackendApplicationClient("doppler"))
        with self.assertRaises(InvalidClientError):
            backend.fetch_token(f"{uaa.url}/oauth/token", client_secret="wrong", verify=uaa.ca)
        with self.assertRaises(InvalidScopeError):
            backend.fetch_token(
                f"{uaa.url}/oauth/token", client_secret=uaa.client_secrets["doppler"], scope=["uaa.admin"], verify=uaa.ca
            )
        code = OauthlibSession("web-app", redirect_uri=REDIRECT)
        with self.assertRaises(InvalidGrantError):
            code.fetch_token(
                f"{uaa.url}/oauth/token", code="made-up", client_secret="a secret: 100% + more", verify=uaa.ca
            )
        legacy = OauthlibSession(client=LegacyApplicationClient("cf"))
        token = legacy.fetch_token(
            f"{uaa.url}/oauth/token", username="marissa", password="eucalyptus", client_secret="", verify=uaa.ca
        )
        self.assertEqual(token["token_type"], "bearer")


class Walk(unittest.TestCase):
    """What an OpenID Connect certification looks at first."""

    def test_discovery(self):
        metadata = discover()
        self.assertEqual(metadata["issuer"], uaa.issuer)
        for name in ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"]:
            self.assertTrue(metadata[name].startswith(uaa.url), name)
        self.assertIn("code", metadata["response_types_supported"])
        self.assertIn("public", metadata["subject_types_supported"])
        self.assertIn("RS256", metadata["id_token_signing_alg_values_supported"])
        self.assertIn("openid", metadata["scopes_supported"])
        for key in requests.get(metadata["jwks_uri"], verify=uaa.ca).json()["keys"]:
            self.assertEqual(key["use"], "sig")
            self.assertNotIn("d", key)

    def authorize(self, **parameters):
        defaults = {"response_type": "code", "client_id": "web-app", "redirect_uri": REDIRECT, "scope": "openid"}
        query = urllib.parse.urlencode({**defaults, **parameters})
        return f"{uaa.url}/oauth/authorize?{query}"

    def answer(self, url):
        location = requests.get(url, verify=uaa.ca, allow_redirects=False).headers["Location"]
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))

    def test_errors_go_to_the_client(self):
        for parameters, error in [
            ({"prompt": "none"}, "login_required"),
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"scope": "openid doppler.firehose"}, "invalid_scope"),
            ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid_request"),
        ]:
            answer = self.answer(self.authorize(state="s", **parameters))
            self.assertEqual((answer["error"], answer["state"], answer["iss"]), (error, "s", uaa.issuer))

    def test_other_redirects_are_refused(self):
        for redirect in ["https://evil.example/cb", REDIRECT + "/", REDIRECT + "?x=1"]:
            answer = requests.get(self.authorize(redirect_uri=redirect), verify=uaa.ca, allow_redirects=False)
            self.assertEqual(answer.status_code, 400)
            self.assertNotIn("Location", answer.headers)

    def test_id_token_is_required_reading(self):
        back = log_in(self.authorize(nonce="n", state="s"))
        code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))["code"]
        answer = requests.post(
            f"{uaa.url}/oauth/token",
            data={"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT},
            auth=("web-app", "a secret: 100% + more"),
            verify=uaa.ca,
        )
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        body = answer.json()
        identity = claims(body["id_token"])
        for name in ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash"]:
            self.assertIn(name, identity)
        info = requests.get(
            f"{uaa.url}/userinfo", headers={"Authorization": f"Bearer {body['access_token']}"}, verify=uaa.ca
        ).json()
        self.assertEqual(info["sub"], identity["sub"])


if __name__ == "__main__":
    unittest.main()
