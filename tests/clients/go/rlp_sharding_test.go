package clients

import (
	"fmt"
	"hash/crc64"
	"testing"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
)

// TestShardGroup: subscribers with one shard id split the stream: together all, none twice, each a share. A
// subscriber without the shard id, and one of another shard, still get everything.
func TestShardGroup(t *testing.T) {
	const n = 3000
	s := openStack(t)
	source, shard := unique("shard"), unique("group")
	request := func(shard string) *v2.EgressBatchRequest {
		return &v2.EgressBatchRequest{ShardId: shard, UsePreferredTags: true, Selectors: []*v2.Selector{logSelector(source)}}
	}
	members := []*subscription{s.subscribe(t, request(shard)), s.subscribe(t, request(shard)), s.subscribe(t, request(shard))}
	alone, other := s.subscribe(t, request("")), s.subscribe(t, request(unique("other-group")))
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, members[0], members[1], members[2], alone, other)

	paced(client, n, func(i int) *v2.Envelope { return logEnvelope(source, numbered(i)) })
	settled(t, "the group together", n, func() int { return members[0].count() + members[1].count() + members[2].count() })
	settled(t, "the one without shard id", n, alone.count)
	settled(t, "the one of another shard", n, other.count)

	var together []int
	for i, member := range members {
		together = append(together, member.numbers(t)...)
		// A third each at random; a fifth less is further off than chance goes in 3,000.
		if share := member.count(); share < n/3*4/5 || share > n/3*6/5 {
			t.Errorf("member %d got %d of %d", i, share, n)
		}
	}
	exactlyOnce(t, "the group together", together, n)
	exactlyOnce(t, "the one without shard id", alone.numbers(t), n)
	exactlyOnce(t, "the one of another shard", other.numbers(t), n)
}

// TestShardGroupIsPerSelector: a group is a shard id and one selector. Who asks for the same logs shares them, also
// when it asks for events besides, which it has alone; who asks for other logs is in another group.
func TestShardGroupIsPerSelector(t *testing.T) {
	const n = 500
	s := openStack(t)
	source, shard := unique("shard-selectors"), unique("group")
	subscribe := func(selectors ...*v2.Selector) *subscription {
		return s.subscribe(t, &v2.EgressBatchRequest{ShardId: shard, UsePreferredTags: true, Selectors: selectors})
	}
	logs, more := subscribe(logSelector(source)), subscribe(logSelector(source), eventSelector(source))
	any := subscribe(logSelector(""))
	client := s.emitter(t)
	ready(t, func() {
		client.Emit(asProbe(logEnvelope(source, "probe")))
		client.Emit(asProbe(eventEnvelope(source, "probe", "")))
	}, logs, more, any)
	paced(client, n, func(i int) *v2.Envelope { return logEnvelope(source, numbered(i)) })
	for range n {
		client.Emit(eventEnvelope(source, "title", "body"))
	}
	ofKind := func(sub *subscription, log bool) func() int {
		return func() int {
			count := 0
			for _, e := range sub.envelopes() {
				if e.GetSourceId() == source && (e.GetLog() != nil) == log {
					count++
				}
			}
			return count
		}
	}
	settled(t, "the shared logs", n, func() int { return ofKind(logs, true)() + ofKind(more, true)() })
	settled(t, "the events of one", n, ofKind(more, false))
	settled(t, "logs by another selector", n, ofKind(any, true))
	if got := ofKind(logs, true)(); got == 0 || got == n {
		t.Errorf("one member got %d of the %d shared logs", got, n)
	}
}

// TestShardGroupMemberLeaves: when one member goes, the others take over its share.
func TestShardGroupMemberLeaves(t *testing.T) {
	const n = 500
	s := openStack(t)
	source, shard := unique("shard-leave"), unique("group")
	request := &v2.EgressBatchRequest{ShardId: shard, UsePreferredTags: true, Selectors: []*v2.Selector{logSelector(source)}}
	stays, leaves := s.subscribe(t, request), s.subscribe(t, request)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, stays, leaves)
	leaves.stop()
	alone(t, client, source, stays.count)
	before := stays.count()
	paced(client, n, func(i int) *v2.Envelope { return logEnvelope(source, numbered(i)) })
	settled(t, "all of it", before+n, stays.count)
}

// TestDeterministicRouting: with deterministic names, the member that gets a counter or gauge follows from its name
// alone: CRC-64/ECMA modulo the size of the group, over the members sorted by name.
func TestDeterministicRouting(t *testing.T) {
	s := openStack(t)
	source, shard := unique("deterministic"), unique("group")
	request := func(name string) *v2.EgressBatchRequest {
		return &v2.EgressBatchRequest{ShardId: shard, UsePreferredTags: true, DeterministicName: name,
			Selectors: []*v2.Selector{counterSelector(source, ""), gaugeSelector(source)}}
	}
	// Subscribed in another order than they sort.
	names := []string{"member-2", "member-0", "member-1"}
	members := map[string]*subscription{}
	for _, name := range names {
		members[name] = s.subscribe(t, request(name))
	}
	sorted := []*subscription{members["member-0"], members["member-1"], members["member-2"]}

	client := s.emitter(t)
	probe := 0
	ready(t, func() {
		for range 10 {
			probe++
			client.Emit(asProbe(counterEnvelope(source, fmt.Sprintf("probe-%d", probe), 1)))
		}
	}, sorted[0], sorted[1], sorted[2])

	ecma := crc64.MakeTable(crc64.ECMA)
	want := map[string]int{}
	emitted := 0
	for round := range 5 {
		for i := range 30 {
			counter := fmt.Sprintf("counter-%d", i)
			want[counter] = int(crc64.Checksum([]byte(counter), ecma) % 3)
			client.Emit(counterEnvelope(source, counter, uint64(round)+1))
			first, second := fmt.Sprintf("gauge-%d", i), fmt.Sprintf("other-%d", i)
			want[first] = int((crc64.Checksum([]byte(first), ecma) + crc64.Checksum([]byte(second), ecma)) % 3)
			client.Emit(gaugeEnvelope(source, first, second))
			emitted += 2
		}
	}
	settled(t, "the group together", emitted, func() int { return sorted[0].count() + sorted[1].count() + sorted[2].count() })
	for i, member := range sorted {
		for _, e := range member.envelopes() {
			name := e.GetCounter().GetName()
			for key := range e.GetGauge().GetMetrics() {
				if _, known := want[key]; known {
					name = key
				}
			}
			if want[name] != i {
				t.Errorf("%s went to member %d, belongs to %d", name, i, want[name])
			}
		}
	}
}
