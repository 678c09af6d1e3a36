package clients

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	logcache "code.cloudfoundry.org/go-log-cache/v3"
	"code.cloudfoundry.org/go-log-cache/v3/rpc/logcache_v1"
	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// store sends envelopes to the log cache's own gRPC ingress.
func (s *stack) store(t *testing.T, envelopes ...*v2.Envelope) {
	t.Helper()
	client := logcache_v1.NewIngressClient(s.dial(t, s.LogCache, "log-cache"))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := client.Send(ctx, &logcache_v1.SendRequest{Envelopes: &v2.EnvelopeBatch{Batch: envelopes}}); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// interfaces are the two ways to read the log cache, which must return equal answers.
func (s *stack) interfaces(t *testing.T) map[string]*logcache.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: s.mutual(t, "")}
	t.Cleanup(transport.CloseIdleConnections)
	return map[string]*logcache.Client{
		"grpc": logcache.NewClient(s.LogCache, logcache.WithViaGRPC(grpc.WithTransportCredentials(credentials.NewTLS(s.mutual(t, "log-cache"))))),
		"http": logcache.NewClient(s.LogCacheGateway, logcache.WithHTTPClient(&http.Client{Transport: transport, Timeout: patience})),
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// series is n numbered logs, one millisecond apart, that ended ten seconds ago (a walk leaves the youngest alone).
func series(source string, n int) []*v2.Envelope {
	start := time.Now().Add(-10 * time.Second).Add(-time.Duration(n) * time.Millisecond).UnixNano()
	envelopes := make([]*v2.Envelope, n)
	for i := range envelopes {
		envelopes[i] = logEnvelope(source, numbered(i))
		envelopes[i].Timestamp = start + int64(i)*1_000_000
	}
	return envelopes
}

// stored waits until the log cache has n envelopes of the source.
func stored(t *testing.T, client *logcache.Client, source string, n int) {
	t.Helper()
	eventually(t, "stored", func() (bool, string) {
		meta, err := client.Meta(deadline(t))
		if err != nil {
			return false, err.Error()
		}
		return meta[source].GetCount() == int64(n), formatCount(int(meta[source].GetCount()), n)
	})
}

// TestLogCacheRoundTrip: every kind, tag and number comes back as it went in, over both interfaces.
func TestLogCacheRoundTrip(t *testing.T) {
	s := openStack(t)
	source := unique("cache")
	base := time.Now().Add(-time.Minute).UnixNano()
	err := logEnvelope(source, "bytes \x00\xff stay")
	err.GetLog().Type = v2.Log_ERR
	old := logEnvelope(source, "deprecated tags")
	old.DeprecatedTags = map[string]*v2.Value{
		"text": {Data: &v2.Value_Text{Text: "words"}}, "integer": {Data: &v2.Value_Integer{Integer: -1 << 60}}, "decimal": {Data: &v2.Value_Decimal{Decimal: 0.1}},
	}
	empty := &v2.Envelope{SourceId: source, Message: &v2.Envelope_Log{Log: &v2.Log{}}}
	big := counterEnvelope(source, "big", 1)
	big.GetCounter().Total = 1<<64 - 1
	sent := []*v2.Envelope{logEnvelope(source, "plain"), err, old, empty, big, gaugeEnvelope(source, "a", "b"), httpTimer(source), eventEnvelope(source, "t", "b")}
	for i, e := range sent {
		e.Timestamp = base + int64(i)
	}
	s.store(t, sent...)
	for name, client := range s.interfaces(t) {
		t.Run(name, func(t *testing.T) {
			stored(t, client, source, len(sent))
			got, err := client.Read(deadline(t), source, time.Unix(0, base))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(sent) {
				t.Fatalf("%d of %d envelopes", len(got), len(sent))
			}
			for i := range sent {
				if !proto.Equal(got[i], sent[i]) {
					t.Errorf("envelope %d:\n got %v\nwant %v", i, got[i], sent[i])
				}
			}
		})
	}
}

// TestLogCacheRead: window, order, limit, kinds and name filter.
func TestLogCacheRead(t *testing.T) {
	const n = 300
	s := openStack(t)
	source := unique("read")
	sent := series(source, n)
	at := func(i int) time.Time { return time.Unix(0, sent[i].GetTimestamp()) }
	counter, gauge := counterEnvelope(source, "requests.total", 1), gaugeEnvelope(source, "cpu", "memory")
	counter.Timestamp, gauge.Timestamp = sent[n-1].GetTimestamp()+1, sent[n-1].GetTimestamp()+2
	s.store(t, append(sent, counter, gauge)...)

	logs := logcache.WithEnvelopeTypes(logcache_v1.EnvelopeType_LOG)
	for api, client := range s.interfaces(t) {
		stored(t, client, source, n+2)
		read := func(t *testing.T, start time.Time, options ...logcache.ReadOption) []*v2.Envelope {
			t.Helper()
			got, err := client.Read(deadline(t), source, start, options...)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		window := func(t *testing.T, got []*v2.Envelope, first, last int) {
			t.Helper()
			step := 1
			if last < first {
				step = -1
			}
			want := (last-first)*step + 1
			if len(got) != want {
				t.Fatalf("%d envelopes, want %d", len(got), want)
			}
			for i, e := range got {
				if number, err := number(e.GetLog().GetPayload()); err != nil || number != first+i*step {
					t.Fatalf("envelope %d: %v %v", i, number, err)
				}
			}
		}
		t.Run(api+"/the default is the oldest hundred", func(t *testing.T) { window(t, read(t, at(0)), 0, 99) })
		t.Run(api+"/limit", func(t *testing.T) { window(t, read(t, at(0), logcache.WithLimit(7)), 0, 6) })
		t.Run(api+"/start is inside", func(t *testing.T) { window(t, read(t, at(5), logcache.WithLimit(3)), 5, 7) })
		t.Run(api+"/end is outside", func(t *testing.T) { window(t, read(t, at(5), logcache.WithEndTime(at(8))), 5, 7) })
		t.Run(api+"/the newest, in descending order", func(t *testing.T) {
			window(t, read(t, at(0), logs, logcache.WithDescending(), logcache.WithLimit(10)), n-1, n-10)
		})
		t.Run(api+"/the start that the cf CLI sends", func(t *testing.T) {
			window(t, read(t, time.Unix(0, -6795364578871345152), logs, logcache.WithDescending(), logcache.WithLimit(1)), n-1, n-1)
		})
		t.Run(api+"/kinds", func(t *testing.T) {
			got := read(t, at(0), logcache.WithEnvelopeTypes(logcache_v1.EnvelopeType_COUNTER, logcache_v1.EnvelopeType_GAUGE))
			if len(got) != 2 || got[0].GetCounter() == nil || got[1].GetGauge() == nil {
				t.Errorf("got %v", got)
			}
			if got := read(t, at(0), logcache.WithEnvelopeTypes(logcache_v1.EnvelopeType_TIMER)); len(got) != 0 {
				t.Errorf("timers: %v", got)
			}
			window(t, read(t, at(0), logcache.WithEnvelopeTypes(logcache_v1.EnvelopeType_ANY), logcache.WithLimit(2)), 0, 1)
		})
		t.Run(api+"/name filter", func(t *testing.T) {
			if got := read(t, at(0), logcache.WithNameFilter("^requests")); len(got) != 1 || got[0].GetCounter() == nil {
				t.Errorf("counter: %v", got)
			}
			got := read(t, at(0), logcache.WithNameFilter("mem"))
			if len(got) != 1 || len(got[0].GetGauge().GetMetrics()) != 1 || got[0].GetGauge().GetMetrics()["memory"] == nil {
				t.Errorf("a gauge is cut to the keys that match: %v", got)
			}
			if _, err := client.Read(deadline(t), source, at(0), logcache.WithNameFilter("(")); err == nil {
				t.Error("a bad expression was taken")
			}
		})
		t.Run(api+"/limits", func(t *testing.T) {
			window(t, read(t, at(0), logs, logcache.WithLimit(1000)), 0, n-1)
			for _, limit := range []int{1001, -1} {
				if _, err := client.Read(deadline(t), source, at(0), logcache.WithLimit(limit)); err == nil {
					t.Errorf("limit %d was taken", limit)
				}
			}
			_, err := client.Read(deadline(t), source, at(9), logcache.WithEndTime(at(3)))
			if err == nil {
				t.Error("a window that ends before it starts was taken")
			}
			if api == "grpc" && status.Code(err) != codes.Unknown {
				t.Errorf("code %v", status.Code(err))
			}
		})
		t.Run(api+"/an unknown source is empty", func(t *testing.T) {
			if got, err := client.Read(deadline(t), unique("nobody"), at(0)); err != nil || len(got) != 0 {
				t.Errorf("%v %v", got, err)
			}
		})
	}
}

// TestLogCacheEqualTimestamps: equal timestamps are moved apart, so that every page keeps its limit and a walk loses
// nothing. (The original does not split a run of them, and so exceeds the limit.)
func TestLogCacheEqualTimestamps(t *testing.T) {
	s := openStack(t)
	source := unique("equal")
	sent := series(source, 50)
	for _, e := range sent[10:40] {
		e.Timestamp = sent[10].GetTimestamp()
	}
	s.store(t, sent...)
	for api, client := range s.interfaces(t) {
		stored(t, client, source, 50)
		found := map[string]int{}
		logcache.Walk(deadline(t), source, func(batch []*v2.Envelope) bool {
			if len(batch) > 7 {
				t.Errorf("%s: a page of %d", api, len(batch))
			}
			for _, e := range batch {
				found[string(e.GetLog().GetPayload())]++
			}
			return true
		}, client.Read, logcache.WithWalkStartTime(time.Unix(0, sent[0].GetTimestamp())), logcache.WithWalkLimit(7))
		for _, e := range sent {
			if n := found[string(e.GetLog().GetPayload())]; n != 1 {
				t.Errorf("%s: %q came %d times", api, e.GetLog().GetPayload(), n)
			}
		}
	}
}

// TestLogCacheWalk: a walk in small steps meets every envelope once, in order.
func TestLogCacheWalk(t *testing.T) {
	const n = 2500
	s := openStack(t)
	source := unique("walk")
	sent := series(source, n)
	s.store(t, sent...)
	for api, client := range s.interfaces(t) {
		t.Run(api, func(t *testing.T) {
			stored(t, client, source, n)
			var numbers []int
			calls := 0
			logcache.Walk(deadline(t), source, func(batch []*v2.Envelope) bool {
				calls++
				for _, e := range batch {
					i, err := number(e.GetLog().GetPayload())
					if err != nil || i != len(numbers) {
						t.Fatalf("after %d: %d, %v", len(numbers), i, err)
					}
					numbers = append(numbers, i)
				}
				return len(numbers) < n
			}, client.Read, logcache.WithWalkStartTime(time.Unix(0, sent[0].GetTimestamp())), logcache.WithWalkLimit(100))
			exactlyOnce(t, api, numbers, n)
			if calls < 25 {
				t.Errorf("%d calls for %d envelopes", calls, n)
			}
		})
	}
}

// TestLogCacheMeta: count and times of a source.
func TestLogCacheMeta(t *testing.T) {
	s := openStack(t)
	source := unique("meta")
	sent := series(source, 42)
	s.store(t, sent...)
	for api, client := range s.interfaces(t) {
		stored(t, client, source, 42)
		meta, err := client.Meta(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		want := &logcache_v1.MetaInfo{Count: 42, OldestTimestamp: sent[0].GetTimestamp(), NewestTimestamp: sent[41].GetTimestamp()}
		if !proto.Equal(meta[source], want) {
			t.Errorf("%s: got %v want %v", api, meta[source], want)
		}
	}
}

// TestLogCacheVersion: the version opens the API paths and the name filter of the CLI.
func TestLogCacheVersion(t *testing.T) {
	s := openStack(t)
	version, err := s.interfaces(t)["http"].LogCacheVersion(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if version.Major < 2 || version.Major == 2 && version.Minor < 1 {
		t.Errorf("version %v", version)
	}
	if uptime, err := s.interfaces(t)["http"].LogCacheVMUptime(deadline(t)); err != nil || uptime < 0 {
		t.Errorf("uptime %d, %v", uptime, err)
	}
}

// TestLogCacheIsFed: what the agent takes can be read and walked in the log cache, complete and in order.
func TestLogCacheIsFed(t *testing.T) {
	const n = 2000
	s := openStack(t)
	source := unique("fed")
	client := s.emitter(t)
	start := time.Now()
	paced(client, n, func(i int) *v2.Envelope { return logEnvelope(source, numbered(i)) })
	for api, cache := range s.interfaces(t) {
		stored(t, cache, source, n)
		var numbers []int
		logcache.Walk(deadline(t), source, func(batch []*v2.Envelope) bool {
			for _, e := range batch {
				i, err := number(e.GetLog().GetPayload())
				if err != nil {
					t.Errorf("%s: %v", api, err)
				}
				numbers = append(numbers, i)
			}
			return len(numbers) < n
		}, cache.Read, logcache.WithWalkStartTime(start.Add(-time.Second)), logcache.WithWalkLimit(1000), logcache.WithWalkBackoff(logcache.NewRetryBackoff(100*time.Millisecond, 100)))
		exactlyOnce(t, fmt.Sprintf("walk over %s", api), numbers, n)
	}
}
