package clients

import (
	"context"
	"crypto/tls"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// refusal opens a stream and returns how the server refused it.
func refusal(t *testing.T, client v2.EgressClient, request *v2.EgressBatchRequest) *status.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := client.BatchedReceiver(ctx, request)
	if err == nil {
		_, err = stream.Recv()
	}
	if err == nil {
		t.Fatal("the stream was not refused")
	}
	return status.Convert(err)
}

// TestSelectorErrors: a request that can never match is refused with the original's words.
func TestSelectorErrors(t *testing.T) {
	s := openStack(t)
	client := v2.NewEgressClient(s.dial(t, s.RLP, "reverselogproxy"))
	cases := []struct {
		name    string
		request *v2.EgressBatchRequest
		message string
	}{
		{"no selectors", &v2.EgressBatchRequest{}, "Selectors cannot be empty"},
		{"a selector without message", &v2.EgressBatchRequest{Selectors: []*v2.Selector{{SourceId: "x"}}}, "Selectors must have a Message"},
		{"one of two without message", &v2.EgressBatchRequest{Selectors: []*v2.Selector{logSelector("x"), {SourceId: "x"}}}, "Selectors must have a Message"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := refusal(t, client, c.request)
			if got.Code() != codes.InvalidArgument || got.Message() != c.message {
				t.Errorf("got %v %q", got.Code(), got.Message())
			}
		})
	}
	t.Run("receiver, no selectors", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stream, err := client.Receiver(ctx, &v2.EgressRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	})
}

// TestReceiver: the unbatched call gives one envelope a message.
func TestReceiver(t *testing.T) {
	const n = 200
	s := openStack(t)
	source := unique("receiver")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := v2.NewEgressClient(s.dial(t, s.RLP, "reverselogproxy")).Receiver(ctx,
		&v2.EgressRequest{UsePreferredTags: true, Selectors: []*v2.Selector{logSelector(source)}})
	if err != nil {
		t.Fatal(err)
	}
	sub := &subscription{stop: cancel}
	go func() {
		for {
			e, err := stream.Recv()
			if err != nil {
				return
			}
			sub.add([]*v2.Envelope{e})
		}
	}()
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, sub)
	paced(client, n, func(i int) *v2.Envelope { return logEnvelope(source, numbered(i)) })
	settled(t, "unbatched", n, sub.count)
	exactlyOnce(t, "unbatched", sub.numbers(t), n)
}

// TestUnimplementedCalls: what the original's doppler does not serve, ours refuses in the same way.
func TestUnimplementedCalls(t *testing.T) {
	s := openStack(t)
	conn := s.dial(t, s.Doppler, "doppler")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := v2.NewIngressClient(conn).Send(ctx, &v2.EnvelopeBatch{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("doppler Send: %v", err)
	}
	stream, err := v2.NewEgressClient(conn).Receiver(ctx, &v2.EgressRequest{Selectors: []*v2.Selector{logSelector("x")}})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("doppler Receiver: %v", err)
	}
}

// TestStreamLimit: the stream that is one too many is refused by name, and leaves room again when others end.
func TestStreamLimit(t *testing.T) {
	s := openStack(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request := &v2.EgressBatchRequest{Selectors: []*v2.Selector{logSelector(unique("limit"))}}
	const perConnection, most = 80, 2000
	var client v2.EgressClient
	var refused error
	opened := 0
	answers := make(chan error, most)
	for ; refused == nil && opened < most; opened++ {
		if opened%perConnection == 0 {
			client = v2.NewEgressClient(s.dial(t, s.RLP, "reverselogproxy"))
		}
		stream, err := client.BatchedReceiver(ctx, request)
		if err != nil {
			refused = err
			break
		}
		go func() {
			_, err := stream.Recv()
			answers <- err
		}()
		select {
		case refused = <-answers:
		case <-time.After(time.Millisecond):
		}
	}
	if refused == nil {
		select {
		case refused = <-answers:
		case <-time.After(patience):
			t.Skipf("no limit met after %d streams: it is configured higher than this test goes", opened)
		}
	}
	got := status.Convert(refused)
	limit := regexp.MustCompile(`^unable to create stream, max egress streams reached: (\d+)$`).FindStringSubmatch(got.Message())
	if got.Code() != codes.ResourceExhausted || limit == nil {
		t.Fatalf("after %d streams: %v %q", opened, got.Code(), got.Message())
	}
	if n, _ := strconv.Atoi(limit[1]); opened < n-20 {
		t.Errorf("refused after %d streams with a limit of %s", opened, limit[1])
	}
	cancel()
	fresh := v2.NewEgressClient(s.dial(t, s.RLP, "reverselogproxy"))
	eventually(t, "room again", func() (bool, string) {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		stream, err := fresh.BatchedReceiver(ctx, request)
		if err == nil {
			_, err = stream.Recv()
		}
		return status.Code(err) == codes.DeadlineExceeded, status.Convert(err).Message()
	})
}

// TestClientCertificateRequired: no internal gRPC server talks to a client without a certificate of its CA.
func TestClientCertificateRequired(t *testing.T) {
	s := openStack(t)
	for name, server := range map[string]struct{ addr, name string }{
		"metron": {s.Agent, "metron"}, "doppler": {s.Doppler, "doppler"}, "rlp": {s.RLP, "reverselogproxy"}, "log-cache": {s.LogCache, "log-cache"},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: server.name, RootCAs: s.authority(t)}
			conn, err := grpc.NewClient(server.addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got := refusal(t, v2.NewEgressClient(conn), &v2.EgressBatchRequest{Selectors: []*v2.Selector{logSelector("x")}})
			if got.Code() != codes.Unavailable {
				t.Errorf("got %v %q", got.Code(), got.Message())
			}
			// The name is checked too: a client that expects another server does not get through.
			wrong := s.dial(t, server.addr, "somebody-else")
			if got := refusal(t, v2.NewEgressClient(wrong), &v2.EgressBatchRequest{}); !strings.Contains(got.Message(), "somebody-else") {
				t.Errorf("with a wrong name: %q", got.Message())
			}
		})
	}
}
