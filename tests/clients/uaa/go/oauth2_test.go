package uaa

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const redirect = "https://app.example/cb"

// errorCode is what RFC 6749 calls `error`.
func errorCode(t *testing.T, err error) string {
	t.Helper()
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		t.Fatalf("no refusal: %v", err)
	}
	return refused.ErrorCode
}

// TestGrants: the password grant of the cf CLI, refreshing, client credentials by header and by form.
func TestGrants(t *testing.T) {
	u := startUAA(t, t.TempDir(), "")
	cf := oauth2.Config{ClientID: "cf", Endpoint: oauth2.Endpoint{TokenURL: u.issuer(), AuthStyle: oauth2.AuthStyleInHeader}}
	token, err := cf.PasswordCredentialsToken(u.context(), u.AdminUser, u.AdminPassword)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.Expiry); left < 19*time.Minute || left > 20*time.Minute {
		t.Fatalf("the token is good for %v", left)
	}
	if token.Type() != "Bearer" || token.TokenType != "bearer" {
		t.Fatalf("token type %q", token.TokenType)
	}
	stale := &oauth2.Token{RefreshToken: token.RefreshToken}
	fresh, err := cf.TokenSource(u.context(), stale).Token()
	if err != nil || fresh.AccessToken == token.AccessToken || fresh.RefreshToken != token.RefreshToken {
		t.Fatalf("refreshing: %v", err)
	}
	_, err = cf.PasswordCredentialsToken(u.context(), u.AdminUser, "wrong")
	if code := errorCode(t, err); code != "unauthorized" {
		t.Fatal(code)
	}
	_, err = cf.TokenSource(u.context(), &oauth2.Token{RefreshToken: "made-up"}).Token()
	if code := errorCode(t, err); code != "invalid_token" {
		t.Fatal(code)
	}
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams, oauth2.AuthStyleAutoDetect} {
		config := clientcredentials.Config{
			ClientID: "doppler", ClientSecret: u.ClientSecrets["doppler"], TokenURL: u.issuer(), AuthStyle: style,
		}
		token, err := config.Token(u.context())
		if err != nil || token.Extra("scope") != "uaa.resource" {
			t.Fatalf("client credentials, style %v: %v", style, err)
		}
		config.Scopes = []string{"uaa.admin"}
		_, err = config.Token(u.context())
		if code := errorCode(t, err); code != "invalid_scope" {
			t.Fatal(code)
		}
	}
	wrong := clientcredentials.Config{
		ClientID: "doppler", ClientSecret: "wrong", TokenURL: u.issuer(), AuthStyle: oauth2.AuthStyleInHeader,
	}
	_, err = wrong.Token(u.context())
	if code := errorCode(t, err); code != "invalid_client" {
		t.Fatal(code)
	}
}

// TestCodeFlow: discovery by go-oidc, PKCE by x/oauth2, an id token that go-oidc verifies, user info; then everything
// again after a change of the signing key.
func TestCodeFlow(t *testing.T) {
	u := startUAA(t, t.TempDir(), "")
	u.send(t, "POST", "/oauth/clients", map[string]any{
		"client_id": "web-app", "client_secret": "a secret: 100% + more", "scope": []string{"openid"},
		"authorized_grant_types": []string{"authorization_code", "refresh_token"},
		"redirect_uri":           []string{redirect}, "autoapprove": true,
	}, http.StatusCreated)
	provider, err := oidc.NewProvider(u.context(), u.issuer())
	if err != nil {
		t.Fatal(err)
	}
	config := oauth2.Config{
		ClientID: "web-app", ClientSecret: "a secret: 100% + more", RedirectURL: redirect,
		Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID},
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: "web-app"})
	walk := func() {
		secret := oauth2.GenerateVerifier()
		asked := config.AuthCodeURL("the state", oauth2.S256ChallengeOption(secret), oidc.Nonce("the nonce"))
		browser := u.newBrowser(redirect, nil)
		login := browser.get(t, asked)
		back := browser.submit(t, login, "/login.do", map[string]string{"username": u.AdminUser, "password": u.AdminPassword})
		code := u.codeIn(t, back.location, "the state")
		_, err := config.Exchange(u.context(), "made-up", oauth2.VerifierOption(secret))
		if code := errorCode(t, err); code != "invalid_grant" {
			t.Fatal(code)
		}
		token, err := config.Exchange(u.context(), code, oauth2.VerifierOption(secret))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := token.Extra("id_token").(string)
		identity, err := verifier.Verify(u.context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		if identity.Nonce != "the nonce" {
			t.Fatalf("nonce %q", identity.Nonce)
		}
		if err := identity.VerifyAccessToken(token.AccessToken); err != nil {
			t.Fatal(err)
		}
		info, err := provider.UserInfo(u.context(), config.TokenSource(u.context(), token))
		if err != nil || info.Subject != identity.Subject {
			t.Fatalf("user info: %v", err)
		}
		_, err = config.Exchange(u.context(), code, oauth2.VerifierOption(secret))
		if code := errorCode(t, err); code != "invalid_grant" {
			t.Fatal(code)
		}
		if _, err := provider.UserInfo(u.context(), oauth2.StaticTokenSource(token)); err == nil {
			t.Fatal("what was issued for a code that is shown twice still counts")
		}
	}
	walk()
	u.send(t, "POST", "/weir/v1/keys/rotate", nil, http.StatusOK)
	walk()
}
