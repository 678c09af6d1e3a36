package clients

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	logcache "code.cloudfoundry.org/go-log-cache/v3"
	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	"github.com/cloudfoundry/noaa/v2/consumer"
)

// soon is what the original's operators are promised: a revoked token ends within a minute.
const soon = time.Minute

// TestAccessFirehose: a user's token from UAA opens the firehose to noaa if the user may have it, and is refused otherwise.
func TestAccessFirehose(t *testing.T) {
	s := openStack(t)
	p := s.people(t)
	nozzle, tenant := p.add(t, "doppler.firehose"), p.add(t, "logs.read."+unique("app"))

	source := unique("access")
	c := s.noaa(t, s.Firehose)
	envelopes, failed := c.Firehose(unique("hose"), p.login(t, nozzle.name, password).bearer())
	hose := collect(c, envelopes, failed, source)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, hose)
	paced(client, 500, func(i int) *v2.Envelope { return logEnvelope(source, numbered(i)) })
	settled(t, "the firehose of a user", 500, hose.count)
	exactlyOnce(t, "the firehose of a user", hose.numbers(t), 500)

	_, refused := s.noaa(t, s.Firehose).FirehoseWithoutReconnect(unique("hose"), p.login(t, tenant.name, password).bearer())
	select {
	case err := <-refused:
		// noaa's UnauthorizedError, which it wraps in a text.
		if err == nil || !strings.Contains(err.Error(), "Unauthorized error: You are not authorized. invalid authorization") {
			t.Errorf("without doppler.firehose: %v", err)
		}
	case <-time.After(patience):
		t.Error("without doppler.firehose the firehose was opened")
	}
}

// TestAccessRevoked: once a user's tokens are revoked, its running firehose ends within a minute and says why.
func TestAccessRevoked(t *testing.T) {
	s := openStack(t)
	p := s.people(t)
	nozzle := p.add(t, "doppler.firehose")
	source := unique("revoked")
	c := s.noaa(t, s.Firehose)
	token := p.login(t, nozzle.name, password).bearer()
	envelopes, failed := c.FirehoseWithoutReconnect(unique("hose"), token)
	hose := collect(c, envelopes, failed, source)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, hose)

	begun := time.Now()
	p.as(token).call(t, http.MethodGet, "/oauth/token/revoke/user/"+nozzle.id, nil, http.StatusOK, nil)
	eventually(t, "the end of the firehose", func() (bool, string) {
		hose.mu.Lock()
		defer hose.mu.Unlock()
		return len(hose.errors) > 0, "it goes on"
	})
	if took := time.Since(begun); took > soon {
		t.Errorf("it ended after %v", took)
	}
	hose.mu.Lock()
	defer hose.mu.Unlock()
	if err := hose.errors[0]; !strings.Contains(err.Error(), "the token was revoked") {
		t.Errorf("it ended with %v", err)
	}
}

// renewal is noaa's way to a new token: the refresh grant.
type renewal struct {
	t      *testing.T
	people *people
	mu     sync.Mutex
	tokens tokens
	asked  int
}

func (r *renewal) RefreshAuthToken() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	r.tokens = r.people.refresh(r.t, r.tokens.Refresh)
	return r.tokens.bearer(), nil
}

// TestAccessRefresh: an access token that does not count any more makes noaa fetch a new one with the refresh token, and the
// firehose goes on with that.
func TestAccessRefresh(t *testing.T) {
	s := openStack(t)
	p := s.people(t)
	nozzle := p.add(t, "doppler.firehose")
	given := p.login(t, nozzle.name, password)
	// This token alone; the refresh token stays good.
	form := strings.NewReader(url.Values{"token": {given.Access}, "client_id": {"cf"}, "client_secret": {""}}.Encode())
	request, err := http.NewRequest(http.MethodPost, p.url+"/oauth/revoke", form)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	p.do(t, request, http.StatusOK, nil)
	eventually(t, "the end of the token", func() (bool, string) {
		_, failed := s.noaa(t, s.Firehose).FirehoseWithoutReconnect(unique("hose"), given.bearer())
		select {
		case <-failed:
			return true, ""
		case <-time.After(time.Second):
			return false, "it still counts"
		}
	})

	source := unique("refresh")
	c := s.noaa(t, s.Firehose)
	r := &renewal{t: t, people: p, tokens: given}
	c.RefreshTokenFrom(r)
	envelopes, failed := c.Firehose(unique("hose"), given.bearer())
	hose := collect(c, envelopes, failed, source)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, hose)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked == 0 || r.tokens.Access == given.Access {
		t.Errorf("asked %d times for a token", r.asked)
	}
}

// TestAccessTenants: somebody who may read one app reads it through noaa, go-loggregator and go-log-cache, and nothing of
// another.
func TestAccessTenants(t *testing.T) {
	s := openStack(t)
	p := s.people(t)
	mine, other := guid(), guid()
	token := p.login(t, p.add(t, "logs.read."+mine).name, password).bearer()
	client := s.emitter(t)

	c := s.noaa(t, s.Firehose)
	envelopes, failed := c.Stream(mine, token)
	app := collect(c, envelopes, failed, mine, other)
	ready(t, func() { client.Emit(asProbe(logEnvelope(mine, "probe"))) }, app)
	client.Emit(logEnvelope(other, "not for you"))
	client.Emit(logEnvelope(mine, "for you"))
	settled(t, "the app's stream", 1, app.count)
	if text := string(app.envelopes()[0].GetLogMessage().GetMessage()); text != "for you" {
		t.Errorf("the app's stream has %q", text)
	}
	tenantGets(t, "another app's stream", s.noaa(t, s.Firehose), other, token)

	for source, status := range map[string]int{mine: http.StatusOK, other: http.StatusNotFound} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		gateway, doer := s.gateway(t, token)
		stream := gateway.Stream(ctx, &v2.EgressBatchRequest{Selectors: everything(source)})
		go func() {
			for stream() != nil {
			}
		}()
		eventually(t, "an answer of the gateway", func() (bool, string) { return doer.first() != 0, "none came" })
		cancel()
		if doer.first() != status {
			t.Errorf("the gateway answers %d for %s", doer.first(), source)
		}
	}

	if s.LogCacheProxy == "" {
		t.Fatal("no log_cache_proxy in endpoints.json")
	}
	transport := &http.Transport{TLSClientConfig: s.public(t)}
	t.Cleanup(transport.CloseIdleConnections)
	cache := logcache.NewClient(s.LogCacheProxy, logcache.WithHTTPClient(
		&bearer{client: &http.Client{Transport: transport}, token: token},
	))
	eventually(t, "the line in the log cache", func() (bool, string) {
		read, err := cache.Read(context.Background(), mine, time.Unix(0, 0))
		if err != nil {
			return false, err.Error()
		}
		for _, e := range read {
			if string(e.GetLog().GetPayload()) == "for you" {
				return true, ""
			}
		}
		return false, "it is not there"
	})
	if read, err := cache.Read(context.Background(), other, time.Unix(0, 0)); err == nil {
		t.Errorf("another app's lines: %v", read)
	}
	meta, err := cache.Meta(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(meta) != 1 || meta[mine] == nil {
		t.Errorf("meta: %v", meta)
	}
}

// tenantGets makes sure that the stream of an app is refused as if the app did not exist.
func tenantGets(t *testing.T, what string, c *consumer.Consumer, app, token string) {
	t.Helper()
	_, failed := c.StreamWithoutReconnect(app, token)
	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), "404") && !strings.Contains(err.Error(), "bad handshake") &&
			!strings.Contains(strings.ToLower(err.Error()), "not found") {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(patience):
		t.Errorf("%s was opened", what)
	}
}
