package clients

import (
	"fmt"
	"testing"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
)

// TestConservation: several sources send numbered lines at a rate that overloads nothing. Every kind of consumer gets
// each of them exactly once.
func TestConservation(t *testing.T) {
	const sources, each = 5, 2000
	s := openStack(t)
	ids := make([]string, sources)
	var selectors []*v2.Selector
	for i := range ids {
		ids[i] = guid()
		selectors = append(selectors, logSelector(ids[i]))
	}
	rlp := s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, Selectors: selectors})
	hose := s.firehose(t, unique("hose"), ids...)
	apps := make([]*nozzle, sources)
	consumers := []prober{rlp, hose}
	for i, id := range ids {
		apps[i] = s.appStream(t, id)
		consumers = append(consumers, apps[i])
	}
	client := s.emitter(t)
	ready(t, func() {
		for _, id := range ids {
			client.Emit(asProbe(logEnvelope(id, "probe")))
		}
	}, consumers...)

	paced(client, sources*each, func(i int) *v2.Envelope { return logEnvelope(ids[i%sources], numbered(i/sources)) })

	settled(t, "RLP", sources*each, rlp.count)
	settled(t, "firehose", sources*each, hose.count)
	perSource := map[string][]int{}
	for _, e := range rlp.envelopes() {
		i, err := number(e.GetLog().GetPayload())
		if err != nil {
			t.Fatal(err)
		}
		perSource[e.GetSourceId()] = append(perSource[e.GetSourceId()], i)
	}
	fromHose := map[string][]int{}
	for _, e := range hose.envelopes() {
		i, err := number(e.GetLogMessage().GetMessage())
		if err != nil {
			t.Fatal(err)
		}
		fromHose[e.GetTags()["source_id"]] = append(fromHose[e.GetTags()["source_id"]], i)
	}
	for i, id := range ids {
		settled(t, fmt.Sprintf("app stream %d", i), each, apps[i].count)
		exactlyOnce(t, fmt.Sprintf("RLP, source %d", i), perSource[id], each)
		exactlyOnce(t, fmt.Sprintf("firehose, source %d", i), fromHose[id], each)
		exactlyOnce(t, fmt.Sprintf("app stream %d", i), apps[i].numbers(t), each)
	}
}

// TestOrder: through one agent and one doppler, the lines of a source arrive in the order in which they were sent.
// (The protocol promises none; with our own parts it holds.)
func TestOrder(t *testing.T) {
	const n = 3000
	s := openStack(t)
	source := guid()
	rlp := s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, Selectors: []*v2.Selector{logSelector(source)}})
	hose := s.firehose(t, unique("hose"), source)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, rlp, hose)
	paced(client, n, func(i int) *v2.Envelope { return logEnvelope(source, numbered(i)) })
	settled(t, "RLP", n, rlp.count)
	settled(t, "firehose", n, hose.count)
	for name, numbers := range map[string][]int{"RLP": rlp.numbers(t), "firehose": hose.numbers(t)} {
		for i, number := range numbers {
			if i != number {
				t.Errorf("%s: number %d at place %d", name, number, i)
				break
			}
		}
	}
}

// TestLargeEnvelopes: batches of the longest lines stay below what a default gRPC client takes (4 MiB).
func TestLargeEnvelopes(t *testing.T) {
	const n = 300
	s := openStack(t)
	source := guid()
	rlp := s.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, Selectors: []*v2.Selector{logSelector(source)}})
	hose := s.firehose(t, unique("hose"), source)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, rlp, hose)
	filler := make([]byte, 61440-64)
	for i := range filler {
		filler[i] = 'x'
	}
	for i := range n {
		client.Emit(logEnvelope(source, numbered(i)+" "+string(filler)))
	}
	settled(t, "RLP", n, rlp.count)
	settled(t, "firehose", n, hose.count)
	exactlyOnce(t, "RLP", rlp.numbers(t), n)
	exactlyOnce(t, "firehose", hose.numbers(t), n)
}
