package uaa

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"golang.org/x/oauth2"
)

// certificate makes a certificate for 127.0.0.1 that is its own CA; its file is what others trust.
func certificate(t *testing.T, folder string) (tls.Certificate, *x509.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a provider"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	// Two certificates: what a server shows must not be a CA for everybody.
	ca, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := x509.ParseCertificate(ca)
	if err != nil {
		t.Fatal(err)
	}
	leaf := *template
	leaf.SerialNumber, leaf.IsCA, leaf.KeyUsage = big.NewInt(2), false, x509.KeyUsageDigitalSignature
	leaf.Subject.CommonName = "a provider's server"
	shown, err := x509.CreateCertificate(rand.Reader, &leaf, parent, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "provider-ca.pem")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{shown}, PrivateKey: key}, parent, path
}

var requestID = regexp.MustCompile(`name="id" value="([^"]*)"`)

// TestExternalProvider: somebody signs in at zitadel's provider and is a user here.
func TestExternalProvider(t *testing.T) {
	folder := t.TempDir()
	shown, ca, caFile := certificate(t, folder)

	// Its address first: the UAA is configured with it, and it with the UAA's.
	server := httptest.NewUnstartedServer(nil)
	issuer := "https://" + server.Listener.Addr().String() + "/"
	u := startUAA(t, folder, fmt.Sprintf(`
[providers.zitadel]
title = "Zitadel"
issuer = %q
client_id = "weir"
client_secret = "provider secret"
scopes = ["profile", "email"]
ca = %q
`, issuer, caFile))
	callback := u.URL + "/login/callback/zitadel"
	storage.RegisterClients(storage.WebClient("weir", "provider secret", callback))
	store := storage.NewStorage(storage.NewUserStore(issuer))
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	server.Config.Handler = exampleop.SetupServer(issuer, store, quiet, false)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{shown}}
	server.StartTLS()
	t.Cleanup(server.Close)

	u.send(t, "POST", "/oauth/clients", map[string]any{
		"client_id": "web-app", "client_secret": "x", "scope": []string{"openid"},
		"authorized_grant_types": []string{"authorization_code"}, "redirect_uri": []string{redirect}, "autoapprove": true,
	}, http.StatusCreated)
	both := u.roots.Clone()
	both.AddCert(ca)
	config := oauth2.Config{
		ClientID: "web-app", ClientSecret: "x", RedirectURL: redirect,
		Endpoint: oauth2.Endpoint{AuthURL: u.URL + "/oauth/authorize", TokenURL: u.issuer(), AuthStyle: oauth2.AuthStyleInHeader},
	}
	signIn := func() map[string]any {
		browser := u.newBrowser(redirect, both)
		login := browser.get(t, config.AuthCodeURL("s"))
		if !strings.Contains(login.text, "Continue with Zitadel") {
			t.Fatalf("no way to the provider: %s", login.text)
		}
		link := regexp.MustCompile(`href="(/login/oidc/zitadel[^"]*)"`).FindStringSubmatch(login.text)
		there := browser.get(t, u.URL+strings.ReplaceAll(link[1], "&amp;", "&"))
		if there.url.Host != server.Listener.Addr().String() {
			t.Fatalf("not at the provider: %s\n%s", there.url, there.text)
		}
		id := requestID.FindStringSubmatch(there.text)
		if id == nil {
			t.Fatalf("no login page: %s", there.text)
		}
		back := browser.submit(t, there, "/login/username", map[string]string{
			"username": "test-user2", "password": "verysecure", "id": id[1],
		})
		code := u.codeIn(t, back.location, "s")
		token, err := config.Exchange(u.context(), code)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := config.Client(u.context(), token).Get(u.URL + "/userinfo")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return decode(t, answer.Body)
	}
	first := signIn()
	if first["origin"] != "zitadel" || first["email"] != "test-user2@zitadel.ch" || first["user_name"] != "test-user2" {
		t.Fatalf("who is that? %v", first)
	}
	if again := signIn(); again["sub"] != first["sub"] {
		t.Fatalf("the same person is two users: %v %v", first["sub"], again["sub"])
	}
}
