package clients

import (
	"context"
	"testing"
	"time"

	"code.cloudfoundry.org/go-loggregator/v10"
	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	"google.golang.org/protobuf/proto"
)

// TestEmitEveryKind: what go-loggregator's Emit functions send comes out of the RLP with every field.
func TestEmitEveryKind(t *testing.T) {
	s := openStack(t)
	source := unique("kinds")
	sub := s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, Selectors: everything(source)})
	client := s.emitter(t, loggregator.WithTag("common", "tag"))
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, sub)

	start := time.Unix(1_700_000_000, 123_456_789)
	client.EmitLog("to stdout", loggregator.WithSourceInfo(source, "APP/PROC/WEB", "1"), loggregator.WithStdout())
	client.EmitLog("to stderr", loggregator.WithSourceInfo(source, "APP/PROC/WEB", "1"))
	client.EmitCounter("requests", loggregator.WithCounterSourceInfo(source, "2"), loggregator.WithDelta(7),
		loggregator.WithEnvelopeTag("extra", "value"))
	client.EmitCounter("absolute", loggregator.WithCounterSourceInfo(source, "2"), loggregator.WithTotal(1<<40))
	client.EmitGauge(loggregator.WithGaugeSourceInfo(source, "3"), loggregator.WithGaugeValue("cpu", 0.25, "percentage"),
		loggregator.WithGaugeValue("memory", 1<<30, "bytes"))
	client.EmitTimer("request", start, start.Add(time.Second), loggregator.WithTimerSourceInfo(source, "4"))
	if err := client.EmitEvent(context.Background(), "title", "body", loggregator.WithEventSourceInfo(source, "5")); err != nil {
		t.Fatalf("unary Send: %v", err)
	}
	settled(t, "one envelope of each call", 7, sub.count)

	var out, err, counter, absolute, gauge, timer, event *v2.Envelope
	for _, e := range sub.envelopes() {
		if e.GetSourceId() != source {
			t.Errorf("source id %q", e.GetSourceId())
		}
		if e.GetTags()["common"] != "tag" {
			t.Errorf("tag of the client is missing: %v", e)
		}
		if age := time.Since(time.Unix(0, e.GetTimestamp())); age < -time.Minute || age > time.Minute {
			t.Errorf("timestamp %d", e.GetTimestamp())
		}
		if len(e.GetDeprecatedTags()) != 0 {
			t.Errorf("deprecated tags in an answer with preferred tags: %v", e.GetDeprecatedTags())
		}
		switch {
		case e.GetLog() != nil && e.GetLog().GetType() == v2.Log_OUT:
			out = e
		case e.GetLog() != nil:
			err = e
		case e.GetCounter().GetName() == "requests":
			counter = e
		case e.GetCounter().GetName() == "absolute":
			absolute = e
		case e.GetGauge() != nil:
			gauge = e
		case e.GetTimer() != nil:
			timer = e
		case e.GetEvent() != nil:
			event = e
		}
	}
	if got := string(out.GetLog().GetPayload()); got != "to stdout" || out.GetInstanceId() != "1" || out.GetTags()["source_type"] != "APP/PROC/WEB" {
		t.Errorf("stdout: %v", out)
	}
	if got := string(err.GetLog().GetPayload()); got != "to stderr" {
		t.Errorf("stderr: %v", err)
	}
	if counter.GetCounter().GetDelta() != 7 || counter.GetCounter().GetTotal() != 7 || counter.GetInstanceId() != "2" || counter.GetTags()["extra"] != "value" {
		t.Errorf("counter: the agent keeps the delta and adds up the total: %v", counter)
	}
	if absolute.GetCounter().GetDelta() != 0 || absolute.GetCounter().GetTotal() != 1<<40 {
		t.Errorf("counter with a total of its own: %v", absolute)
	}
	want := &v2.Gauge{Metrics: map[string]*v2.GaugeValue{
		"cpu": {Unit: "percentage", Value: 0.25}, "memory": {Unit: "bytes", Value: 1 << 30}}}
	if !proto.Equal(gauge.GetGauge(), want) || gauge.GetInstanceId() != "3" {
		t.Errorf("gauge: %v", gauge)
	}
	if timer.GetTimer().GetName() != "request" || timer.GetTimer().GetStart() != start.UnixNano() ||
		timer.GetTimer().GetStop() != start.Add(time.Second).UnixNano() || timer.GetInstanceId() != "4" {
		t.Errorf("timer: %v", timer)
	}
	if event.GetEvent().GetTitle() != "title" || event.GetEvent().GetBody() != "body" || event.GetInstanceId() != "5" {
		t.Errorf("event: %v", event)
	}
}

// TestCounterTotals: the agent adds up the deltas of a series (name, source, tags), and a series with other tags is another one.
func TestCounterTotals(t *testing.T) {
	s := openStack(t)
	source := unique("totals")
	sub := s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, Selectors: []*v2.Selector{counterSelector(source, "c")}})
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(counterEnvelope(source, "c", 1))) }, sub)
	for range 3 {
		client.Emit(counterEnvelope(source, "c", 5))
		other := counterEnvelope(source, "c", 100)
		other.Tags["zone"] = "b"
		client.Emit(other)
	}
	settled(t, "counters", 6, sub.count)
	totals := map[string]uint64{}
	for _, e := range sub.envelopes() {
		zone := e.GetTags()["zone"]
		totals[zone] = max(totals[zone], e.GetCounter().GetTotal())
	}
	if totals[""] != 15 || totals["b"] != 300 {
		t.Errorf("totals: %v", totals)
	}
}

// TestTags: deprecated tags of every type reach a consumer in the map that it asked for.
func TestTags(t *testing.T) {
	s := openStack(t)
	source := unique("tags")
	preferred := s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, Selectors: []*v2.Selector{logSelector(source)}})
	deprecated := s.subscribe(t, &v2.EgressBatchRequest{Selectors: []*v2.Selector{logSelector(source)}})
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, preferred, deprecated)

	e := logEnvelope(source, "tagged")
	e.DeprecatedTags = map[string]*v2.Value{
		"text":    {Data: &v2.Value_Text{Text: "words"}},
		"integer": {Data: &v2.Value_Integer{Integer: -42}},
		"decimal": {Data: &v2.Value_Decimal{Decimal: 0.5}},
	}
	client.Emit(e)
	settled(t, "with preferred tags", 1, preferred.count)
	settled(t, "with deprecated tags", 1, deprecated.count)

	want := map[string]string{"text": "words", "integer": "-42", "source_type": "APP/PROC/WEB", "origin": "rep"}
	got := preferred.envelopes()[0]
	for name, value := range want {
		if got.GetTags()[name] != value {
			t.Errorf("preferred tag %s: %q, want %q", name, got.GetTags()[name], value)
		}
	}
	if len(got.GetDeprecatedTags()) != 0 {
		t.Errorf("preferred: deprecated tags %v", got.GetDeprecatedTags())
	}
	got = deprecated.envelopes()[0]
	for name, value := range want {
		if got.GetDeprecatedTags()[name].GetText() != value {
			t.Errorf("deprecated tag %s: %v, want text %q", name, got.GetDeprecatedTags()[name], value)
		}
	}
	if len(got.GetTags()) != 0 {
		t.Errorf("deprecated: tags %v", got.GetTags())
	}
	// Printed alike in both, whatever the number of digits.
	if a, b := preferred.envelopes()[0].GetTags()["decimal"], got.GetDeprecatedTags()["decimal"].GetText(); a != "0.5" && a != "0.500000" || b != "0.5" && b != "0.500000" {
		t.Errorf("decimal: preferred %q, deprecated %q", a, b)
	}
}
