package uaa

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

// cloudController is as much of one as the CLI needs to find a UAA and to make users.
func cloudController(t *testing.T, u *uaa) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	link := func(href string) map[string]any { return map[string]any{"href": href} }
	answer := func(writer http.ResponseWriter, status int, body any) {
		writer.Header().Set("Content-Type", "application/json")
		writer.WriteHeader(status)
		_ = json.NewEncoder(writer).Encode(body)
	}
	mux.HandleFunc("GET /{$}", func(writer http.ResponseWriter, _ *http.Request) {
		answer(writer, 200, map[string]any{"links": map[string]any{
			"self":                link(server.URL),
			"cloud_controller_v3": map[string]any{"href": server.URL + "/v3", "meta": map[string]any{"version": "3.228.0"}},
			"uaa":                 link(u.URL),
			"login":               link(u.URL),
			"routing":             nil,
			"app_ssh": map[string]any{
				"href": "ssh.example:2222",
				"meta": map[string]any{"host_key_fingerprint": "x", "oauth_client": "ssh-proxy"},
			},
		}})
	})
	list := map[string]any{"resources": []any{}, "pagination": map[string]any{"next": nil}}
	mux.HandleFunc("GET /v3/organizations", func(writer http.ResponseWriter, _ *http.Request) { answer(writer, 200, list) })
	mux.HandleFunc("POST /v3/users", func(writer http.ResponseWriter, request *http.Request) {
		answer(writer, 201, decode(t, request.Body))
	})
	return server
}

// TestCF: the cf CLI logs in, refreshes, makes a user, asks for an ssh code, and really logs out.
func TestCF(t *testing.T) {
	program := os.Getenv("CF")
	if program == "" {
		found, err := exec.LookPath("cf")
		if err != nil {
			t.Skip("no `cf` on PATH, and CF names none")
		}
		program = found
	}
	u := startUAA(t, t.TempDir(), "")
	controller := cloudController(t, u)
	home := t.TempDir()
	run := func(wanted string, arguments ...string) string {
		t.Helper()
		command := exec.Command(program, arguments...)
		command.Env = append(os.Environ(), "CF_HOME="+home, "SSL_CERT_FILE="+u.CA, "CF_COLOR=false", "LANG=en_US.UTF-8")
		output, err := command.CombinedOutput()
		if !strings.Contains(string(output), wanted) {
			t.Fatalf("cf %s: %v\n%s", arguments[0], err, output)
		}
		return string(output)
	}
	settings := func() map[string]any {
		t.Helper()
		content, err := os.Open(filepath.Join(home, ".cf", "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		defer content.Close()
		return decode(t, content)
	}
	run("3.228.0", "api", controller.URL)
	run("OK", "auth", u.AdminUser, u.AdminPassword)
	run("Credentials were rejected", "auth", u.AdminUser, "wrong")
	run("OK", "login", "-u", u.AdminUser, "-p", u.AdminPassword)
	run("bearer ", "oauth-token")
	run("OK", "create-user", "carla", "looking-glass")
	run("already exists", "create-user", "carla", "looking-glass")
	if code := strings.TrimSpace(run("", "ssh-code")); len(code) != 32 {
		t.Fatalf("ssh code %q", code)
	}
	run("OK", "auth", "carla", "looking-glass")
	run("not authorized", "create-user", "other", "looking-glass")
	for range 5 {
		run("Credentials were rejected", "auth", "carla", "wrong")
	}
	run("locked", "auth", "carla", "looking-glass")
	run("OK", "auth", "cf_smoke_tests", u.ClientSecrets["cf_smoke_tests"], "--client-credentials")
	run("bearer ", "oauth-token")
	run("OK", "logout")

	run("OK", "auth", u.AdminUser, u.AdminPassword)
	before := settings()
	run("OK", "logout")
	config := oauth2.Config{ClientID: "cf", Endpoint: oauth2.Endpoint{TokenURL: u.issuer(), AuthStyle: oauth2.AuthStyleInHeader}}
	_, err := config.TokenSource(u.context(), &oauth2.Token{RefreshToken: fmt.Sprint(before["RefreshToken"])}).Token()
	if code := errorCode(t, err); code != "invalid_token" {
		t.Fatal(code)
	}
	request, _ := http.NewRequest("GET", u.URL+"/userinfo", nil)
	request.Header.Set("Authorization", fmt.Sprint(before["AccessToken"]))
	answer, err := u.client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Fatalf("the access token still counts: %s", answer.Status)
	}
}
