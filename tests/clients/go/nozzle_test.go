package clients

import (
	"slices"
	"strings"
	"sync"
	"testing"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	"github.com/cloudfoundry/noaa/v2/consumer"
	"github.com/cloudfoundry/sonde-go/events"
)

// nozzle is one noaa consumer and everything it got of the sources that its test is about.
type nozzle struct {
	mu      sync.Mutex
	sources map[string]bool
	got     []*events.Envelope
	probes  int
	errors  []error
	// consumer is closed at the end of the test, or earlier by it.
	consumer *consumer.Consumer
}

// noaa makes a consumer of the traffic controller at that URL.
func (s *stack) noaa(t *testing.T, url string) *consumer.Consumer {
	t.Helper()
	c := consumer.New(url, s.public(t), nil)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// collect reads a noaa stream to its end.
func collect(c *consumer.Consumer, envelopes <-chan *events.Envelope, errors <-chan error, sources ...string) *nozzle {
	n := &nozzle{sources: map[string]bool{}, consumer: c}
	for _, source := range sources {
		n.sources[source] = true
	}
	go func() {
		for e := range envelopes {
			n.add(e)
		}
	}()
	go func() {
		for err := range errors {
			n.mu.Lock()
			n.errors = append(n.errors, err)
			n.mu.Unlock()
		}
	}()
	return n
}

// add keeps an envelope of our sources. Every v1 envelope has its v2 source id as a tag.
func (n *nozzle) add(e *events.Envelope) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.sources[e.GetTags()["source_id"]] || isReport(e.GetOrigin()) {
		return
	}
	if e.GetTags()[probeTag] != "" {
		n.probes++
		return
	}
	n.got = append(n.got, e)
}

// isReport tells what the stack says *about* a source (losses, mostly) from what the source says itself: both have its id.
func isReport(origin string) bool { return strings.HasPrefix(origin, "loggregator.") }

func (n *nozzle) envelopes() []*events.Envelope {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got)
}

func (n *nozzle) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.got)
}

func (n *nozzle) probed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.probes > 0
}

func (n *nozzle) forgetProbes() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.probes = 0
}

func (n *nozzle) numbers(t *testing.T) []int {
	t.Helper()
	var numbers []int
	for _, e := range n.envelopes() {
		i, err := number(e.GetLogMessage().GetMessage())
		if err != nil {
			t.Errorf("unexpected envelope %v: %v", e, err)
			continue
		}
		numbers = append(numbers, i)
	}
	return numbers
}

// firehose opens a firehose and keeps what it gets of those sources.
func (s *stack) firehose(t *testing.T, subscription string, sources ...string) *nozzle {
	t.Helper()
	c := s.noaa(t, s.Firehose)
	envelopes, errors := c.Firehose(subscription, s.token)
	return collect(c, envelopes, errors, sources...)
}

// appStream opens the stream of one app.
func (s *stack) appStream(t *testing.T, app string) *nozzle {
	t.Helper()
	c := s.noaa(t, s.Firehose)
	envelopes, errors := c.Stream(app, s.token)
	return collect(c, envelopes, errors, app)
}

// containerMetrics is the gauge that becomes a ContainerMetric.
func containerMetrics(sourceID string) *v2.Envelope {
	e := gaugeEnvelope(sourceID)
	e.InstanceId = "7"
	e.GetGauge().Metrics = map[string]*v2.GaugeValue{
		"cpu":          {Unit: "percentage", Value: 12.5},
		"memory":       {Unit: "bytes", Value: 1000},
		"disk":         {Unit: "bytes", Value: 2000},
		"memory_quota": {Unit: "bytes", Value: 3000},
		"disk_quota":   {Unit: "bytes", Value: 4000},
	}
	return e
}
