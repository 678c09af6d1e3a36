package clients

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
)

// nats connects to the stack's NATS with the client's certificate.
func (s *stack) nats(t *testing.T, options ...nats.Option) *nats.Conn {
	t.Helper()
	if s.NATS == "" {
		t.Skip("the stack has no NATS")
	}
	options = append([]nats.Option{nats.Secure(s.mutual(t, "nats")), nats.Timeout(patience)}, options...)
	conn, err := nats.Connect("nats://"+s.NATS, options...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// nextNATS waits for the next message of a subscription.
func nextNATS(t *testing.T, sub *nats.Subscription) *nats.Msg {
	t.Helper()
	msg, err := sub.NextMsg(patience)
	if err != nil {
		t.Fatalf("next message: %v", err)
	}
	return msg
}

func subscribe(t *testing.T, conn *nats.Conn, subject string) *nats.Subscription {
	t.Helper()
	sub, err := conn.SubscribeSync(subject)
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	if err := conn.FlushTimeout(patience); err != nil {
		t.Fatalf("flush: %v", err)
	}
	return sub
}

// Messages with and without headers and replies reach subscriptions with wildcards, in order.
func TestNATSMessages(t *testing.T) {
	s := openStack(t)
	publisher, subscriber := s.nats(t), s.nats(t)
	prefix := unique("messages")
	all, one := subscribe(t, subscriber, prefix+".>"), subscribe(t, subscriber, prefix+".*.c")
	for i := range 1000 {
		if err := publisher.Publish(prefix+".a", fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	for i := range 1000 {
		if got := string(nextNATS(t, all).Data); got != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
	sent := nats.NewMsg(prefix + ".b.c")
	sent.Reply = prefix + ".answers"
	sent.Header.Add("Name", "one")
	sent.Header.Add("Name", "two")
	sent.Data = bytes.Repeat([]byte{0, '\r', '\n', 255}, 1000)
	if err := publisher.PublishMsg(sent); err != nil {
		t.Fatalf("publish: %v", err)
	}
	for _, sub := range []*nats.Subscription{all, one} {
		got := nextNATS(t, sub)
		if got.Subject != sent.Subject || got.Reply != sent.Reply || !bytes.Equal(got.Data, sent.Data) {
			t.Errorf("got %q, reply %q, %d bytes", got.Subject, got.Reply, len(got.Data))
		}
		if names := got.Header.Values("Name"); strings.Join(names, ",") != "one,two" {
			t.Errorf("header: %v", names)
		}
	}
}

// Of a queue group one member takes each message.
func TestNATSQueueGroups(t *testing.T) {
	s := openStack(t)
	publisher := s.nats(t)
	subject := unique("queue")
	const members, messages = 3, 3000
	var counts [members]atomic.Int64
	var seen sync.Map
	for member := range members {
		conn := s.nats(t)
		_, err := conn.QueueSubscribe(subject, "group", func(msg *nats.Msg) {
			counts[member].Add(1)
			if _, twice := seen.LoadOrStore(string(msg.Data), true); twice {
				t.Errorf("message %s came twice", msg.Data)
			}
		})
		if err != nil {
			t.Fatalf("subscribe: %v", err)
		}
		if err := conn.FlushTimeout(patience); err != nil {
			t.Fatalf("flush: %v", err)
		}
	}
	for i := range messages {
		if err := publisher.Publish(subject, fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	eventually(t, "all messages", func() (bool, string) {
		total := int64(0)
		for i := range counts {
			total += counts[i].Load()
		}
		return total == messages, fmt.Sprint(total)
	})
	for i := range counts {
		if counts[i].Load() < messages/members/2 {
			t.Errorf("member %d took %d of %d messages", i, counts[i].Load(), messages)
		}
	}
}

// A request is answered by a responder, and one that has none fails at once.
func TestNATSRequests(t *testing.T) {
	s := openStack(t)
	responder, caller := s.nats(t), s.nats(t)
	subject := unique("request")
	_, err := responder.Subscribe(subject, func(msg *nats.Msg) { _ = msg.Respond(append([]byte("re: "), msg.Data...)) })
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	if err := responder.FlushTimeout(patience); err != nil {
		t.Fatalf("flush: %v", err)
	}
	answer, err := caller.Request(subject, []byte("hello"), patience)
	if err != nil || string(answer.Data) != "re: hello" {
		t.Fatalf("request: %v, %v", answer, err)
	}
	if _, err := caller.Request(unique("nobody"), nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("request to nobody: %v", err)
	}
	old := s.nats(t, nats.UseOldRequestStyle())
	answer, err = old.Request(subject, []byte("old"), patience)
	if err != nil || string(answer.Data) != "re: old" {
		t.Errorf("request in the old style: %v, %v", answer, err)
	}
}

// A subscription ends after as many messages as it wants, and draining loses none.
func TestNATSEnds(t *testing.T) {
	s := openStack(t)
	publisher, subscriber := s.nats(t), s.nats(t)
	subject := unique("ends")
	three := subscribe(t, subscriber, subject)
	if err := three.AutoUnsubscribe(3); err != nil {
		t.Fatalf("auto-unsubscribe: %v", err)
	}
	var drained atomic.Int64
	draining := s.nats(t)
	if _, err := draining.Subscribe(subject, func(*nats.Msg) { drained.Add(1) }); err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	for _, conn := range []*nats.Conn{subscriber, draining} {
		if err := conn.FlushTimeout(patience); err != nil {
			t.Fatalf("flush: %v", err)
		}
	}
	for range 10 {
		if err := publisher.Publish(subject, nil); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	if err := publisher.FlushTimeout(patience); err != nil {
		t.Fatalf("flush: %v", err)
	}
	if err := draining.Drain(); err != nil {
		t.Fatalf("drain: %v", err)
	}
	eventually(t, "drained", func() (bool, string) { return drained.Load() == 10, fmt.Sprint(drained.Load()) })
	for range 3 {
		nextNATS(t, three)
	}
	if _, err := three.NextMsg(patience); !errors.Is(err, nats.ErrMaxMessages) && !errors.Is(err, nats.ErrBadSubscription) {
		t.Errorf("a fourth message: %v", err)
	}
}

// The client learns the limits, and a client without a certificate is not let in.
func TestNATSLimits(t *testing.T) {
	s := openStack(t)
	conn := s.nats(t)
	if !conn.HeadersSupported() || conn.MaxPayload() != 1<<20 || conn.ConnectedServerId() == "" {
		t.Errorf("headers %v, max payload %d", conn.HeadersSupported(), conn.MaxPayload())
	}
	if id, err := conn.GetClientID(); err != nil || id == 0 {
		t.Errorf("client id: %d, %v", id, err)
	}
	if err := conn.Publish("a", make([]byte, 1<<20+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("too large: %v", err)
	}
	sub := subscribe(t, conn, unique("large"))
	if err := conn.Publish(sub.Subject, make([]byte, 1<<20)); err != nil {
		t.Fatalf("publish: %v", err)
	}
	if got := nextNATS(t, sub); len(got.Data) != 1<<20 {
		t.Errorf("%d bytes", len(got.Data))
	}
	if rtt, err := conn.RTT(); err != nil || rtt > patience {
		t.Errorf("round trip: %v, %v", rtt, err)
	}
	if stranger, err := nats.Connect("nats://"+s.NATS, nats.Secure(s.public(t)), nats.Timeout(patience)); err == nil {
		stranger.Close()
		t.Error("a client without a certificate was let in")
	}
}

// The nats CLI publishes, subscribes and asks.
func TestNATSCommandLine(t *testing.T) {
	s := openStack(t)
	conn := s.nats(t)
	program, err := exec.LookPath("nats")
	if err != nil {
		t.Skip("the nats CLI is not installed (go install github.com/nats-io/natscli/nats@v0.5.0)")
	}
	// The CLI verifies the address, which is in every certificate of the stack.
	flags := []string{"--server", "nats://" + s.NATS, "--tlsca", s.CA, "--tlscert", s.ClientCert, "--tlskey", s.ClientKey}
	run := func(arguments ...string) string {
		t.Helper()
		command := exec.Command(program, append(append([]string{}, flags...), arguments...)...)
		command.Env = append(command.Environ(), "HOME="+t.TempDir())
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("nats %v: %v: %s", arguments, err, output)
		}
		return string(output)
	}
	subject := unique("cli")
	sub := subscribe(t, conn, subject)
	run("pub", subject, "hello")
	if got := string(nextNATS(t, sub).Data); got != "hello" {
		t.Errorf("published: %q", got)
	}
	if _, err := conn.Subscribe(subject+".ask", func(msg *nats.Msg) { _ = msg.Respond([]byte("answer")) }); err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	if err := conn.FlushTimeout(patience); err != nil {
		t.Fatalf("flush: %v", err)
	}
	if output := run("request", subject+".ask", "question"); !strings.Contains(output, "answer") {
		t.Errorf("request: %s", output)
	}
	if output := run("rtt"); !strings.Contains(output, s.NATS) && !strings.Contains(output, "average") {
		t.Errorf("rtt: %s", output)
	}
}
