// Package uaa drives a UAA with clients that are not ours: golang.org/x/oauth2, go-oidc (a certified relying party), and
// zitadel's OpenID provider (certified too) as an external provider of its users.
package uaa

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// uaa is a running UAA, described by itself.
type uaa struct {
	URL           string            `json:"url"`
	CA            string            `json:"ca"`
	AdminUser     string            `json:"admin_user"`
	AdminPassword string            `json:"admin_password"`
	ClientSecrets map[string]string `json:"client_secrets"`

	roots *x509.CertPool
}

// startUAA starts the program in UAA_BIN in a folder of its own; config is its uaa.toml.
func startUAA(t *testing.T, folder, config string, arguments ...string) *uaa {
	t.Helper()
	program := os.Getenv("UAA_BIN")
	if program == "" {
		t.Skip("UAA_BIN names no program")
	}
	if config != "" {
		if err := os.WriteFile(filepath.Join(folder, "uaa.toml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command(program, append([]string{folder}, arguments...)...)
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("the UAA ended badly: %v\n%s", err, log.String())
		}
	})
	description := filepath.Join(folder, "uaa.json")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		content, err := os.ReadFile(description)
		if err == nil {
			found := &uaa{roots: x509.NewCertPool()}
			if err := json.Unmarshal(content, found); err != nil {
				t.Fatal(err)
			}
			pem, err := os.ReadFile(found.CA)
			if err != nil || !found.roots.AppendCertsFromPEM(pem) {
				t.Fatal("no CA", err)
			}
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("the UAA did not come up: %s", log.String())
		}
	}
}

func (u *uaa) issuer() string { return u.URL + "/oauth/token" }

// client is an HTTP client that trusts the UAA.
func (u *uaa) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: u.roots}, ForceAttemptHTTP2: true}}
}

func (u *uaa) context() context.Context {
	return context.WithValue(context.Background(), oauth2.HTTPClient, u.client())
}

// send makes a request with JSON as the administrative client and demands a status.
func (u *uaa) send(t *testing.T, method, path string, body any, status int) map[string]any {
	t.Helper()
	config := clientcredentials.Config{ClientID: "admin", ClientSecret: u.ClientSecrets["admin"], TokenURL: u.issuer()}
	content, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(method, u.URL+path, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := config.Client(u.context()).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != status {
		t.Fatalf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	var said map[string]any
	_ = json.Unmarshal(text, &said)
	return said
}

func decode(t *testing.T, body io.Reader) map[string]any {
	t.Helper()
	var said map[string]any
	if err := json.NewDecoder(body).Decode(&said); err != nil {
		t.Fatal(err)
	}
	return said
}

// browser is what a person has: cookies, and eyes for forms.
type browser struct {
	*http.Client
	stopAt string
}

// newBrowser follows redirects until one leads to stopAt.
func (u *uaa) newBrowser(stopAt string, more *x509.CertPool) *browser {
	jar, _ := cookiejar.New(nil)
	client := u.client()
	if more != nil {
		client.Transport.(*http.Transport).TLSClientConfig.RootCAs = more
	}
	client.Jar = jar
	b := &browser{Client: client, stopAt: stopAt}
	client.CheckRedirect = func(request *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(request.URL.String(), b.stopAt) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return b
}

// page is what came back, and where it is.
type page struct {
	url      *url.URL
	location string
	text     string
}

func (b *browser) do(t *testing.T, request *http.Request) page {
	t.Helper()
	request.Header.Set("Accept", "text/html")
	answer, err := b.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return page{url: answer.Request.URL, location: answer.Header.Get("Location"), text: string(text)}
}

func (b *browser) get(t *testing.T, target string) page {
	t.Helper()
	request, err := http.NewRequest("GET", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b.do(t, request)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)"`)

// submit fills in the form of a page and sends it.
func (b *browser) submit(t *testing.T, from page, action string, fields map[string]string) page {
	t.Helper()
	form := url.Values{}
	for _, match := range hidden.FindAllStringSubmatch(from.text, -1) {
		form.Set(match[1], html.UnescapeString(match[2]))
	}
	for name, value := range fields {
		form.Set(name, value)
	}
	target, err := from.url.Parse(action)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest("POST", target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", fmt.Sprintf("https://%s", target.Host))
	return b.do(t, request)
}

// codeIn takes the code out of where a client is led to, whose state and issuer must be right.
func (u *uaa) codeIn(t *testing.T, location, state string) string {
	t.Helper()
	target, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	query := target.Query()
	if query.Get("state") != state || query.Get("iss") != u.issuer() || query.Get("code") == "" {
		t.Fatalf("not what the client asked for: %s", location)
	}
	return query.Get("code")
}
