package clients

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"code.cloudfoundry.org/go-loggregator/v10"
	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
)

// bearer is a Doer that shows a token, as go-loggregator's users write it.
type bearer struct {
	client *http.Client
	token  string
	mu     sync.Mutex
	status []int
}

func (b *bearer) Do(request *http.Request) (*http.Response, error) {
	if b.token != "" {
		request.Header.Set("Authorization", b.token)
	}
	answer, err := b.client.Do(request)
	if err == nil {
		b.mu.Lock()
		b.status = append(b.status, answer.StatusCode)
		b.mu.Unlock()
	}
	return answer, err
}

// first is the status of the first answer, 0 before there is one.
func (b *bearer) first() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.status) == 0 {
		return 0
	}
	return b.status[0]
}

// gateway makes the RLP gateway's client of go-loggregator.
func (s *stack) gateway(t *testing.T, token string) (*loggregator.RLPGatewayClient, *bearer) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: s.public(t)}
	t.Cleanup(transport.CloseIdleConnections)
	doer := &bearer{client: &http.Client{Transport: transport}, token: token}
	return loggregator.NewRLPGatewayClient(s.RLPGateway, loggregator.WithRLPGatewayHTTPClient(doer)), doer
}

// TestGatewayStream: every kind comes through the RLP gateway to go-loggregator's client, and nothing of other sources.
func TestGatewayStream(t *testing.T) {
	s := openStack(t)
	if s.RLPGateway == "" {
		t.Skip("no RLP gateway in endpoints.json")
	}
	source, other := unique("gateway"), unique("gateway-other")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, _ := s.gateway(t, s.token)
	stream := client.Stream(ctx, &v2.EgressBatchRequest{Selectors: everything(source)})

	var mu sync.Mutex
	var got []*v2.Envelope
	probed := false
	go func() {
		for {
			batch := stream()
			if batch == nil {
				return
			}
			mu.Lock()
			for _, e := range batch {
				if isProbe(e) {
					probed = true
				} else {
					got = append(got, e)
				}
			}
			mu.Unlock()
		}
	}()
	emitter := s.emitter(t)
	eventually(t, "the first envelope through the gateway", func() (bool, string) {
		emitter.Emit(asProbe(logEnvelope(source, "probe")))
		pause()
		mu.Lock()
		defer mu.Unlock()
		return probed, "no probe came"
	})

	const lines = 1000
	paced(emitter, lines, func(n int) *v2.Envelope { return logEnvelope(source, numbered(n)) })
	emitter.Emit(counterEnvelope(source, "requests", 3))
	emitter.Emit(gaugeEnvelope(source, "first", "second"))
	emitter.Emit(httpTimer(source))
	emitter.Emit(eventEnvelope(source, "title", "body"))
	emitter.Emit(logEnvelope(other, "of another source"))
	eventually(t, "all envelopes through the gateway", func() (bool, string) {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= lines+4, "not all of them came"
	})

	mu.Lock()
	defer mu.Unlock()
	var numbers []int
	kinds := map[string]int{}
	for _, e := range got {
		if e.GetSourceId() != source {
			t.Errorf("an envelope of %q", e.GetSourceId())
		}
		switch e.GetMessage().(type) {
		case *v2.Envelope_Log:
			n, err := number(e.GetLog().GetPayload())
			if err != nil {
				t.Errorf("log: %v", err)
			}
			numbers = append(numbers, n)
		case *v2.Envelope_Counter:
			kinds["counter"]++
			if c := e.GetCounter(); c.GetName() != "requests" || c.GetDelta() != 3 || c.GetTotal() != 3 {
				t.Errorf("counter: %v", e)
			}
		case *v2.Envelope_Gauge:
			kinds["gauge"]++
			if len(e.GetGauge().GetMetrics()) != 2 {
				t.Errorf("gauge: %v", e)
			}
		case *v2.Envelope_Timer:
			kinds["timer"]++
		case *v2.Envelope_Event:
			kinds["event"]++
			if e.GetEvent().GetTitle() != "title" || e.GetEvent().GetBody() != "body" {
				t.Errorf("event: %v", e)
			}
		}
	}
	exactlyOnce(t, "go-loggregator's gateway client", numbers, lines)
	for _, kind := range []string{"counter", "gauge", "timer", "event"} {
		if kinds[kind] != 1 {
			t.Errorf("%d envelopes of kind %s", kinds[kind], kind)
		}
	}
}

// TestGatewayRefuses: without a token, or with one that is none, the client gets no stream but an answer that says why.
func TestGatewayRefuses(t *testing.T) {
	s := openStack(t)
	if s.RLPGateway == "" {
		t.Skip("no RLP gateway in endpoints.json")
	}
	for name, token := range map[string]string{"none": "", "garbage": "bearer nonsense"} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		client, doer := s.gateway(t, token)
		stream := client.Stream(ctx, &v2.EgressBatchRequest{Selectors: everything(unique("refused"))})
		go func() {
			for stream() != nil {
			}
		}()
		eventually(t, "an answer", func() (bool, string) { return doer.first() != 0, "none came" })
		cancel()
		// The original answers 404, so that nobody learns what exists.
		if status := doer.first(); !slices.Contains([]int{http.StatusUnauthorized, http.StatusNotFound}, status) {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if !strings.HasPrefix(s.RLPGateway, "https://") {
		t.Errorf("the gateway is at %q", s.RLPGateway)
	}
}
