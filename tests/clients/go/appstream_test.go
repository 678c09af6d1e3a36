package clients

import (
	"net/http"
	"strings"
	"testing"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	"github.com/cloudfoundry/sonde-go/events"
)

// TestAppStream: an app's stream has its logs, container metrics and requests, of all instances, and nothing of others;
// counters and value metrics belong to no app in v1.
func TestAppStream(t *testing.T) {
	s := openStack(t)
	app, other := guid(), guid()
	stream, second := s.appStream(t, app), s.appStream(t, app)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(app, "probe"))) }, stream, second)
	for _, source := range []string{app, other} {
		client.Emit(logEnvelope(source, "text of "+source))
		client.Emit(counterEnvelope(source, "c", 1))
		client.Emit(gaugeEnvelope(source, "g"))
		client.Emit(containerMetrics(source))
		client.Emit(httpTimer(source))
		client.Emit(eventEnvelope(source, "t", "b"))
	}
	settled(t, "the stream", 3, stream.count)
	settled(t, "a second one gets the same", 3, second.count)
	kinds := map[events.Envelope_EventType]int{}
	for _, e := range stream.envelopes() {
		kinds[e.GetEventType()]++
	}
	if kinds[events.Envelope_LogMessage] != 1 || kinds[events.Envelope_ContainerMetric] != 1 || kinds[events.Envelope_HttpStartStop] != 1 {
		t.Errorf("kinds: %v", kinds)
	}
}

// TestTailingLogs: noaa's tail, as the old CLIs use it, in order and complete.
func TestTailingLogs(t *testing.T) {
	const n = 1000
	s := openStack(t)
	app := guid()
	messages, failed := s.noaa(t, s.Firehose).TailingLogs(app, s.token)
	go func() {
		for range failed {
		}
	}()
	tail := &nozzle{sources: map[string]bool{app: true}}
	go func() {
		for m := range messages {
			tags := map[string]string{"source_id": m.GetAppId()}
			if string(m.GetMessage()) == "probe" {
				tags[probeTag] = "1"
			}
			tail.add(&events.Envelope{LogMessage: m, Tags: tags})
		}
	}()
	client := s.emitter(t)
	ready(t, func() { client.Emit(logEnvelope(app, "probe")) }, tail)
	paced(client, n, func(i int) *v2.Envelope { return logEnvelope(app, numbered(i)) })
	settled(t, "tail", n, tail.count)
	exactlyOnce(t, "tail", tail.numbers(t), n)
}

// TestTrafficControllerStatus: what is asked wrongly gets the status that clients know.
func TestTrafficControllerStatus(t *testing.T) {
	s := openStack(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.public(t)}, Timeout: patience}
	base := "https" + strings.TrimPrefix(s.Firehose, "wss")
	for _, c := range []struct {
		path      string
		status    int
		challenge string
		token     bool
	}{
		{"/firehose/x", http.StatusUnauthorized, "Basic", false},
		{"/firehose/x", http.StatusBadRequest, "", true},
		{"/apps/not-a-guid/stream", http.StatusUnauthorized, "", true},
		{"/apps/" + guid() + "/stream", http.StatusUnauthorized, "Basic", false},
		{"/apps/" + guid() + "/stream", http.StatusBadRequest, "", true},
		{"/apps/" + guid() + "/recentlogs", http.StatusNotFound, "", true},
		{"/apps/" + guid() + "/containermetrics", http.StatusNotFound, "", true},
		{"/nothing", http.StatusNotFound, "", true},
	} {
		request, err := http.NewRequest(http.MethodGet, base+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token {
			request.Header.Set("Authorization", s.token)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		_ = response.Body.Close()
		if response.StatusCode != c.status || response.Header.Get("WWW-Authenticate") != c.challenge {
			t.Errorf("%s (token %v): %d %q, want %d %q", c.path, c.token, response.StatusCode, response.Header.Get("WWW-Authenticate"), c.status, c.challenge)
		}
	}
}
