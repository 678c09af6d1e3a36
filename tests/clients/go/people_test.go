package clients

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// people is the stack's UAA as the clients of the field reach it: forms for tokens, SCIM for users and groups.
type people struct {
	url    string
	client *http.Client
	// token is what calls are made with.
	token string
}

// tokens is what UAA gives for a password or a refresh token.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (t tokens) bearer() string { return "bearer " + t.Access }

// people logs the administrator in.
func (s *stack) people(t *testing.T) *people {
	t.Helper()
	if s.UAA == "" {
		t.Skip("no UAA in endpoints.json")
	}
	transport := &http.Transport{TLSClientConfig: s.public(t)}
	t.Cleanup(transport.CloseIdleConnections)
	p := &people{url: s.UAA, client: &http.Client{Transport: transport, Timeout: patience}}
	p.token = p.login(t, s.AdminUser, s.AdminPassword).bearer()
	return p
}

// grant asks for tokens as the cf CLI does.
func (p *people) grant(t *testing.T, fields url.Values) tokens {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, p.url+"/oauth/token", strings.NewReader(fields.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("cf", "")
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var got tokens
	p.do(t, request, http.StatusOK, &got)
	return got
}

func (p *people) login(t *testing.T, name, password string) tokens {
	t.Helper()
	return p.grant(t, url.Values{"grant_type": {"password"}, "username": {name}, "password": {password}})
}

func (p *people) refresh(t *testing.T, token string) tokens {
	t.Helper()
	return p.grant(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// as is the same UAA for somebody else.
func (p *people) as(token string) *people { return &people{url: p.url, client: p.client, token: token} }

// call does something as whoever the token is of.
func (p *people) call(t *testing.T, method, path string, body any, status int, answer any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(method, p.url+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", p.token)
	p.do(t, request, status, answer)
}

func (p *people) do(t *testing.T, request *http.Request, status int, answer any) {
	t.Helper()
	got, err := p.client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", request.Method, request.URL.Path, err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", request.Method, request.URL.Path, err)
	}
	if got.StatusCode != status {
		t.Fatalf("%s %s: %s: %s", request.Method, request.URL.Path, got.Status, text)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			t.Fatalf("%s %s: %v: %s", request.Method, request.URL.Path, err, text)
		}
	}
}

// user is somebody with a password, in some groups.
type user struct {
	id, name string
}

const password = "a password of the tests"

// add makes a user in these groups, which are made as well where there are none.
func (p *people) add(t *testing.T, groups ...string) user {
	t.Helper()
	name := unique("user")
	var made struct {
		ID string `json:"id"`
	}
	body := map[string]any{
		"userName": name, "password": password, "emails": []map[string]string{{"value": name + "@example.com"}},
	}
	p.call(t, http.MethodPost, "/Users", body, http.StatusCreated, &made)
	for _, group := range groups {
		var found struct {
			Resources []struct {
				ID string `json:"id"`
			} `json:"resources"`
		}
		filter := url.QueryEscape(`displayName eq "` + group + `"`)
		p.call(t, http.MethodGet, "/Groups?filter="+filter, nil, http.StatusOK, &found)
		member := map[string]any{"origin": "uaa", "type": "USER", "value": made.ID}
		if len(found.Resources) > 0 {
			p.call(t, http.MethodPost, "/Groups/"+found.Resources[0].ID+"/members", member, http.StatusCreated, nil)
		} else {
			body := map[string]any{"displayName": group, "members": []any{member}}
			p.call(t, http.MethodPost, "/Groups", body, http.StatusCreated, nil)
		}
	}
	return user{id: made.ID, name: name}
}
