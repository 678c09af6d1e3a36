package clients

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"code.cloudfoundry.org/go-loggregator/v10"
	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
)

// probeTag marks envelopes that only find out whether a subscription is in place. Consumers drop them.
const probeTag = "probe"

// emitter opens go-loggregator's ingress client towards the agent.
func (s *stack) emitter(t *testing.T, options ...loggregator.IngressOption) *loggregator.IngressClient {
	t.Helper()
	config, err := loggregator.NewIngressTLSConfig(s.CA, s.ClientCert, s.ClientKey)
	if err != nil {
		t.Fatalf("ingress TLS: %v", err)
	}
	options = append([]loggregator.IngressOption{
		loggregator.WithAddr(s.Agent),
		loggregator.WithBatchFlushInterval(10 * time.Millisecond),
	}, options...)
	client, err := loggregator.NewIngressClient(config, options...)
	if err != nil {
		t.Fatalf("ingress client: %v", err)
	}
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { _ = client.CloseSend() }) })
	return client
}

// logEnvelope is a log line of an app as Diego sends it.
func logEnvelope(sourceID, payload string) *v2.Envelope {
	return &v2.Envelope{
		Timestamp:  time.Now().UnixNano(),
		SourceId:   sourceID,
		InstanceId: "0",
		Tags:       map[string]string{"source_type": "APP/PROC/WEB", "origin": "rep"},
		Message:    &v2.Envelope_Log{Log: &v2.Log{Payload: []byte(payload), Type: v2.Log_OUT}},
	}
}

func counterEnvelope(sourceID, name string, delta uint64) *v2.Envelope {
	return &v2.Envelope{
		Timestamp:  time.Now().UnixNano(),
		SourceId:   sourceID,
		InstanceId: "0",
		Tags:       map[string]string{"origin": "rep"},
		Message:    &v2.Envelope_Counter{Counter: &v2.Counter{Name: name, Delta: delta}},
	}
}

func gaugeEnvelope(sourceID string, names ...string) *v2.Envelope {
	metrics := map[string]*v2.GaugeValue{}
	for i, name := range names {
		metrics[name] = &v2.GaugeValue{Unit: "bytes", Value: float64(i) + 0.5}
	}
	return &v2.Envelope{
		Timestamp:  time.Now().UnixNano(),
		SourceId:   sourceID,
		InstanceId: "0",
		Tags:       map[string]string{"origin": "rep"},
		Message:    &v2.Envelope_Gauge{Gauge: &v2.Gauge{Metrics: metrics}},
	}
}

// httpTimer is a timer as gorouter's requests look after conversion: it has everything that v1 needs.
func httpTimer(sourceID string) *v2.Envelope {
	now := time.Now().UnixNano()
	return &v2.Envelope{
		Timestamp:  now,
		SourceId:   sourceID,
		InstanceId: "3",
		Tags: map[string]string{
			"origin": "gorouter", "request_id": "954ac8b8-7de4-4a06-8c6a-2e8a0b1c2d3e", "peer_type": "Server",
			"method": "POST", "uri": "https://app.example/path?q=1", "remote_address": "10.0.0.1:4711",
			"user_agent": "agent/1.0", "status_code": "201", "content_length": "1234",
			"routing_instance_id": "instance-guid", "forwarded": "10.0.0.2\n10.0.0.3",
		},
		Message: &v2.Envelope_Timer{Timer: &v2.Timer{Name: "http", Start: now - 5_000_000, Stop: now}},
	}
}

func eventEnvelope(sourceID, title, body string) *v2.Envelope {
	return &v2.Envelope{
		Timestamp:  time.Now().UnixNano(),
		SourceId:   sourceID,
		InstanceId: "0",
		Tags:       map[string]string{"origin": "rep"},
		Message:    &v2.Envelope_Event{Event: &v2.Event{Title: title, Body: body}},
	}
}

// asProbe marks an envelope as a probe.
func asProbe(e *v2.Envelope) *v2.Envelope {
	e.Tags[probeTag] = "1"
	return e
}

func isProbe(e *v2.Envelope) bool {
	if e.GetTags()[probeTag] != "" {
		return true
	}
	return e.GetDeprecatedTags()[probeTag] != nil
}

// numbered is the payload of the n-th line; number reads it back.
func numbered(n int) string { return fmt.Sprintf("line %08d of the numbered series", n) }

func number(payload []byte) (int, error) {
	fields := strings.Fields(string(payload))
	if len(fields) < 2 {
		return 0, fmt.Errorf("no number in %q", payload)
	}
	return strconv.Atoi(fields[1])
}

// paced emits n envelopes in bursts of a hundred with a rest between them: a rate that nothing on the way may lose.
func paced(client *loggregator.IngressClient, n int, make func(int) *v2.Envelope) {
	for i := range n {
		client.Emit(make(i))
		if i%100 == 99 {
			time.Sleep(40 * time.Millisecond)
		}
	}
}

// exactlyOnce checks that the numbers 0..n-1 are all there, once each.
func exactlyOnce(t *testing.T, who string, numbers []int, n int) {
	t.Helper()
	seen := make([]int, n)
	for _, number := range numbers {
		if number < 0 || number >= n {
			t.Errorf("%s: got number %d of a series of %d", who, number, n)
			continue
		}
		seen[number]++
	}
	missing, repeated := 0, 0
	for _, count := range seen {
		if count == 0 {
			missing++
		}
		if count > 1 {
			repeated++
		}
	}
	if missing > 0 || repeated > 0 {
		t.Errorf("%s: %d of %d missing, %d repeated", who, missing, n, repeated)
	}
}
