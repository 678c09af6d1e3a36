package clients

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	"github.com/cloudfoundry/sonde-go/events"
	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"
)

// dialFirehose opens the firehose by hand, to see the frames that noaa hides.
func (s *stack) dialFirehose(t *testing.T, header http.Header) *websocket.Conn {
	t.Helper()
	dialer := websocket.Dialer{TLSClientConfig: s.public(t), HandshakeTimeout: patience}
	conn, response, err := dialer.Dial(s.Firehose+"/firehose/"+unique("raw"), header)
	if err != nil {
		t.Fatalf("dial: %v (%v)", err, response)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestWebSocketFrames: the server pings at once; each message is one binary frame with one v1 envelope; what a client
// sends is ignored; the cookie is as good as the header.
func TestWebSocketFrames(t *testing.T) {
	s := openStack(t)
	conn := s.dialFirehose(t, http.Header{"Cookie": {"authorization=" + strings.ReplaceAll(s.token, " ", "%20")}})
	pinged := make(chan struct{}, 1)
	conn.SetPingHandler(func(data string) error {
		select {
		case pinged <- struct{}{}:
		default:
		}
		return conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(patience))
	})
	if err := conn.WriteMessage(websocket.TextMessage, []byte("nobody reads this")); err != nil {
		t.Fatal(err)
	}
	source := unique("raw")
	client := s.emitter(t)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				client.Emit(logEnvelope(source, "text"))
			}
		}
	}()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for got := 0; got < 10; {
		kind, frame, err := conn.ReadMessage()
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if kind != websocket.BinaryMessage {
			t.Fatalf("frame of kind %d", kind)
		}
		e := &events.Envelope{}
		if err := proto.Unmarshal(frame, e); err != nil {
			t.Fatalf("frame is no v1 envelope: %v", err)
		}
		if e.GetTags()["source_id"] == source {
			got++
		}
	}
	select {
	case <-pinged:
	default:
		t.Error("no ping so far")
	}
}

// TestWebSocketKeepAlive: a client that never answers a ping is closed with 1008 after half a minute.
func TestWebSocketKeepAlive(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 30 s")
	}
	t.Parallel()
	s := openStack(t)
	conn := s.dialFirehose(t, http.Header{"Authorization": {s.token}})
	conn.SetPingHandler(func(string) error { return nil })
	start := time.Now()
	_ = conn.SetReadDeadline(start.Add(60 * time.Second))
	for {
		_, _, err := conn.ReadMessage()
		if err == nil {
			continue
		}
		if !websocket.IsCloseError(err, websocket.ClosePolicyViolation) ||
			!strings.Contains(err.Error(), "Client did not respond to ping before keep-alive timeout expired.") {
			t.Errorf("closed with %v", err)
		}
		if took := time.Since(start); took < 25*time.Second {
			t.Errorf("closed after %v", took)
		}
		return
	}
}

// cutter is a TCP proxy that can cut all connections through it.
type cutter struct {
	mu       sync.Mutex
	listener net.Listener
	target   string
	open     []net.Conn
	passed   int
}

func newCutter(t *testing.T, target string) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: listener, target: target}
	t.Cleanup(func() { _ = listener.Close(); c.cut() })
	go func() {
		for {
			inner, err := listener.Accept()
			if err != nil {
				return
			}
			outer, err := net.Dial("tcp", target)
			if err != nil {
				_ = inner.Close()
				continue
			}
			c.mu.Lock()
			c.open = append(c.open, inner, outer)
			c.passed++
			c.mu.Unlock()
			go func() { _, _ = io.Copy(inner, outer); _ = inner.Close() }()
			go func() { _, _ = io.Copy(outer, inner); _ = outer.Close() }()
		}
	}()
	return c
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
}

func (c *cutter) connections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.passed
}

// TestFirehoseReconnects: after the connection was cut, noaa comes back by itself and the stream goes on.
func TestFirehoseReconnects(t *testing.T) {
	s := openStack(t)
	source := unique("reconnect")
	proxy := newCutter(t, strings.TrimPrefix(s.Firehose, "wss://"))
	c := s.noaa(t, fmt.Sprintf("wss://%s", proxy.listener.Addr()))
	c.SetMinRetryDelay(10 * time.Millisecond)
	envelopes, failed := c.Firehose(unique("hose"), s.token)
	hose := collect(c, envelopes, failed, source)
	client := s.emitter(t)
	probe := func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }
	for round := range 3 {
		hose.forgetProbes()
		ready(t, probe, hose)
		alone(t, client, source, hose.count)
		before := hose.count()
		for i := range 100 {
			client.Emit(logEnvelope(source, numbered(i)))
		}
		settled(t, fmt.Sprintf("after %d cuts", round), before+100, hose.count)
		proxy.cut()
	}
	if n := proxy.connections(); n < 3 {
		t.Errorf("%d connections", n)
	}
}

// TestConnectorReconnects: the same for go-loggregator's stream connector at the RLP.
func TestConnectorReconnects(t *testing.T) {
	s := openStack(t)
	source := unique("reconnect")
	proxy := newCutter(t, s.RLP)
	through := *s
	through.RLP = proxy.listener.Addr().String()
	sub := through.subscribe(t, &v2.EgressBatchRequest{UsePreferredTags: true, Selectors: []*v2.Selector{logSelector(source)}})
	client := s.emitter(t)
	for round := range 3 {
		sub.forgetProbes()
		ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, sub)
		before := sub.count()
		for i := range 100 {
			client.Emit(logEnvelope(source, numbered(i)))
		}
		settled(t, fmt.Sprintf("after %d cuts", round), before+100, sub.count)
		proxy.cut()
	}
}
