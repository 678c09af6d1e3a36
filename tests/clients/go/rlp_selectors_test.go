package clients

import (
	"sort"
	"strings"
	"testing"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
)

// label names an envelope of the selector table shortly: its source's letter, kind and names.
func label(sources map[string]string, e *v2.Envelope) string {
	source := sources[e.GetSourceId()]
	switch m := e.GetMessage().(type) {
	case *v2.Envelope_Log:
		return source + "/log"
	case *v2.Envelope_Counter:
		return source + "/counter:" + m.Counter.GetName()
	case *v2.Envelope_Gauge:
		var names []string
		for name := range m.Gauge.GetMetrics() {
			names = append(names, name)
		}
		sort.Strings(names)
		return source + "/gauge:" + strings.Join(names, "+")
	case *v2.Envelope_Timer:
		return source + "/timer"
	case *v2.Envelope_Event:
		return source + "/event"
	}
	return source + "/none"
}

// TestSelectors: two sources send one envelope of each kind; each selector gets exactly what the contract says.
func TestSelectors(t *testing.T) {
	s := openStack(t)
	a, b := unique("selectors-a"), unique("selectors-b")
	sources := map[string]string{a: "a", b: "b"}
	of := func(source string) []*v2.Envelope {
		return []*v2.Envelope{
			logEnvelope(source, "text"), counterEnvelope(source, "c1", 1), counterEnvelope(source, "c2", 1),
			gaugeEnvelope(source, "cpu"), gaugeEnvelope(source, "cpu", "memory"), httpTimer(source), eventEnvelope(source, "t", "b"),
		}
	}
	cases := []struct {
		name      string
		selectors []*v2.Selector
		want      string
	}{
		{"source and log", []*v2.Selector{logSelector(a)}, "a/log"},
		{"source and any counter", []*v2.Selector{counterSelector(a, "")}, "a/counter:c1 a/counter:c2"},
		{"counter by name", []*v2.Selector{counterSelector(a, "c2")}, "a/counter:c2"},
		{"counter of no such name", []*v2.Selector{counterSelector(a, "c3"), logSelector(a)}, "a/log"},
		{"source and any gauge", []*v2.Selector{gaugeSelector(b)}, "b/gauge:cpu b/gauge:cpu+memory"},
		{"gauge by exact set of names", []*v2.Selector{gaugeSelector(b, "memory", "cpu")}, "b/gauge:cpu+memory"},
		{"gauge by one name", []*v2.Selector{gaugeSelector(b, "cpu")}, "b/gauge:cpu"},
		{"gauge: a part of the set is no match", []*v2.Selector{gaugeSelector(b, "memory"), logSelector(b)}, "b/log"},
		{"timer", []*v2.Selector{timerSelector(a)}, "a/timer"},
		{"event", []*v2.Selector{eventSelector(a)}, "a/event"},
		{"two sources", []*v2.Selector{logSelector(a), logSelector(b)}, "a/log b/log"},
		{"kinds of different sources", []*v2.Selector{logSelector(a), eventSelector(b), counterSelector(b, "c1")}, "a/log b/counter:c1 b/event"},
		{"matched twice, delivered twice", []*v2.Selector{counterSelector(a, ""), counterSelector(a, "c1")}, "a/counter:c1 a/counter:c1 a/counter:c2"},
		{"all of a source", everything(b), "b/counter:c1 b/counter:c2 b/event b/gauge:cpu b/gauge:cpu+memory b/log b/timer"},
		{"any source", []*v2.Selector{timerSelector("")}, "a/timer b/timer"},
	}

	client := s.emitter(t)
	subs := make([]*subscription, len(cases))
	probers := make([]prober, len(cases))
	for i, c := range cases {
		subs[i] = s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, Selectors: c.selectors})
		probers[i] = subs[i]
	}
	ready(t, func() {
		for _, source := range []string{a, b} {
			for _, e := range of(source) {
				client.Emit(asProbe(e))
			}
		}
	}, probers...)
	for _, source := range []string{a, b} {
		for _, e := range of(source) {
			client.Emit(e)
		}
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want := strings.Fields(c.want)
			got := func() []string {
				var labels []string
				for _, e := range subs[i].envelopes() {
					// Other tests share the stack: only our sources count.
					if sources[e.GetSourceId()] != "" {
						labels = append(labels, label(sources, e))
					}
				}
				sort.Strings(labels)
				return labels
			}
			settled(t, c.name, len(want), func() int { return len(got()) })
			if have := strings.Join(got(), " "); have != c.want {
				t.Errorf("got %s\nwant %s", have, c.want)
			}
		})
	}
}

// TestLegacySelector: the old single selector works alone, and `selectors` wins over it.
func TestLegacySelector(t *testing.T) {
	s := openStack(t)
	source, other := unique("legacy"), unique("legacy-other")
	legacy := s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, LegacySelector: logSelector(source)})
	both := s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, LegacySelector: logSelector(source), Selectors: []*v2.Selector{logSelector(other)}})
	client := s.emitter(t)
	emit := func(mark func(*v2.Envelope) *v2.Envelope) {
		client.Emit(mark(logEnvelope(source, "x")))
		client.Emit(mark(logEnvelope(other, "x")))
	}
	ready(t, func() { emit(asProbe) }, legacy, both)
	emit(func(e *v2.Envelope) *v2.Envelope { return e })
	settled(t, "legacy selector", 1, legacy.count)
	settled(t, "selectors win", 1, both.count)
	if got := legacy.envelopes()[0].GetSourceId(); got != source {
		t.Errorf("legacy selector got %s", got)
	}
	if got := both.envelopes()[0].GetSourceId(); got != other {
		t.Errorf("with selectors too, got %s", got)
	}
}
