package clients

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"code.cloudfoundry.org/go-loggregator/v10"
	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
)

// subscription is one EnvelopeStreamConnector at the RLP and everything that it got.
type subscription struct {
	mu     sync.Mutex
	got    []*v2.Envelope
	probes int
	stop   context.CancelFunc
}

// subscribe opens a stream. It is in place only after `ready`.
func (s *stack) subscribe(t *testing.T, request *v2.EgressBatchRequest) *subscription {
	t.Helper()
	config, err := loggregator.NewEgressTLSConfig(s.CA, s.ClientCert, s.ClientKey)
	if err != nil {
		t.Fatalf("egress TLS: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	next := loggregator.NewEnvelopeStreamConnector(s.RLP, config).Stream(ctx, request)
	sub := &subscription{stop: cancel}
	go func() {
		for ctx.Err() == nil {
			sub.add(next())
		}
	}()
	return sub
}

func (s *subscription) add(envelopes []*v2.Envelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range envelopes {
		switch {
		case isProbe(e):
			s.probes++
		case isReport(e.GetTags()["origin"]), isReport(e.GetDeprecatedTags()["origin"].GetText()):
		default:
			s.got = append(s.got, e)
		}
	}
}

// envelopes is a copy of what came so far, probes left out.
func (s *subscription) envelopes() []*v2.Envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *subscription) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func (s *subscription) probed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes > 0
}

// numbers reads the numbers of all logs received.
func (s *subscription) numbers(t *testing.T) []int {
	t.Helper()
	var numbers []int
	for _, e := range s.envelopes() {
		n, err := number(e.GetLog().GetPayload())
		if err != nil {
			t.Errorf("unexpected envelope %v: %v", e, err)
			continue
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// prober is anything that can say whether a probe has reached it.
type prober interface{ probed() bool }

// ready sends probes until each consumer has seen one: from then on nothing that fits may be missing. There is no
// acknowledgement of a subscription in the protocol, and what was sent before it is in place is nobody's.
func ready(t *testing.T, probe func(), consumers ...prober) {
	t.Helper()
	next := time.Now()
	eventually(t, "subscriptions in place", func() (bool, string) {
		if time.Now().After(next) {
			probe()
			next = time.Now().Add(50 * time.Millisecond)
		}
		waiting := 0
		for _, consumer := range consumers {
			if !consumer.probed() {
				waiting++
			}
		}
		return waiting == 0, "consumers without a probe"
	})
}

// alone sends runs of fifty lines until one of them arrives as a whole: from then on no former member of the group, or
// connection of the same subscription, takes a share any more. Leaving is not acknowledged either.
func alone(t *testing.T, client *loggregator.IngressClient, source string, count func() int) {
	t.Helper()
	const run = 50
	eventually(t, "former members gone", func() (bool, string) {
		before := count()
		for i := range run {
			client.Emit(logEnvelope(source, numbered(i)))
		}
		for range 40 {
			if count() == before+run {
				return true, ""
			}
			pause()
		}
		return false, formatCount(count()-before, run)
	})
}

// settled waits until the count has been reached and then makes sure that nothing more comes.
func settled(t *testing.T, what string, n int, count func() int) {
	t.Helper()
	eventually(t, what, func() (bool, string) { return count() >= n, formatCount(count(), n) })
	// Half a second is five times the longest time that any hop holds a batch.
	time.Sleep(500 * time.Millisecond)
	if got := count(); got != n {
		t.Errorf("%s: %s", what, formatCount(got, n))
	}
}

func formatCount(got, want int) string {
	return fmt.Sprintf("%d of %d", got, want)
}

func logSelector(sourceID string) *v2.Selector {
	return &v2.Selector{SourceId: sourceID, Message: &v2.Selector_Log{Log: &v2.LogSelector{}}}
}

func counterSelector(sourceID, name string) *v2.Selector {
	return &v2.Selector{SourceId: sourceID, Message: &v2.Selector_Counter{Counter: &v2.CounterSelector{Name: name}}}
}

func gaugeSelector(sourceID string, names ...string) *v2.Selector {
	return &v2.Selector{SourceId: sourceID, Message: &v2.Selector_Gauge{Gauge: &v2.GaugeSelector{Names: names}}}
}

func timerSelector(sourceID string) *v2.Selector {
	return &v2.Selector{SourceId: sourceID, Message: &v2.Selector_Timer{Timer: &v2.TimerSelector{}}}
}

func eventSelector(sourceID string) *v2.Selector {
	return &v2.Selector{SourceId: sourceID, Message: &v2.Selector_Event{Event: &v2.EventSelector{}}}
}

// everything selects all kinds of one source.
func everything(sourceID string) []*v2.Selector {
	return []*v2.Selector{
		logSelector(sourceID), counterSelector(sourceID, ""), gaugeSelector(sourceID), timerSelector(sourceID), eventSelector(sourceID),
	}
}

func (s *subscription) forgetProbes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes = 0
}
