// Package clients drives a running stack with the client libraries that exist in the field: go-loggregator, noaa and
// go-log-cache. Nothing here knows how the stack is built: it is found by its endpoints.json, exactly as a script
// would find it.
package clients

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// stack is what endpoints.json says of a running stack.
type stack struct {
	CA              string         `json:"ca"`
	ClientCert      string         `json:"client_cert"`
	ClientKey       string         `json:"client_key"`
	Agent           string         `json:"agent"`
	Doppler         string         `json:"doppler"`
	RLP             string         `json:"rlp"`
	Firehose        string         `json:"traffic_controller"`
	LogCache        string         `json:"log_cache"`
	LogCacheGateway string         `json:"log_cache_gateway"`
	LogCacheProxy   string         `json:"log_cache_proxy"`
	RLPGateway      string         `json:"rlp_gateway"`
	UAA             string         `json:"uaa"`
	NATS            string         `json:"nats"`
	AdminUser       string         `json:"admin_user"`
	AdminPassword   string         `json:"admin_password"`
	PIDs            map[string]int `json:"pids"`

	// token opens the firehose and the app streams, with its "bearer " prefix.
	token string
}

// openStack finds the stack by WEIR_ENDPOINTS (the file) or WEIR_STATE_DIR (its directory). The token comes from
// WEIR_TOKEN or from the file `token` beside endpoints.json.
func openStack(t *testing.T) *stack {
	t.Helper()
	path := os.Getenv("WEIR_ENDPOINTS")
	if dir := os.Getenv("WEIR_STATE_DIR"); path == "" && dir != "" {
		path = filepath.Join(dir, "endpoints.json")
	}
	if path == "" {
		t.Skip("no stack: set WEIR_ENDPOINTS or WEIR_STATE_DIR (tests/clients/run does)")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("endpoints: %v", err)
	}
	s := &stack{}
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	token := os.Getenv("WEIR_TOKEN")
	if token == "" {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "token"))
		if err != nil {
			t.Fatalf("firehose token: %v", err)
		}
		token = strings.TrimSpace(string(text))
	}
	s.token = token
	if !strings.HasPrefix(strings.ToLower(token), "bearer ") {
		s.token = "bearer " + token
	}
	return s
}

// authority is the pool that holds only the stack's own CA.
func (s *stack) authority(t *testing.T) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatalf("ca: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("ca: no certificate in %s", s.CA)
	}
	return pool
}

// mutual is the client side of mTLS towards the server of that name; empty takes the name from the address.
func (s *stack) mutual(t *testing.T, serverName string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(s.ClientCert, s.ClientKey)
	if err != nil {
		t.Fatalf("client certificate: %v", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		ServerName:   serverName,
		RootCAs:      s.authority(t),
		Certificates: []tls.Certificate{pair},
	}
}

// public is what a client outside of the platform has: the CA and no certificate.
func (s *stack) public(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.authority(t)}
}

// dial opens a plain gRPC connection with mTLS.
func (s *stack) dial(t *testing.T, addr, serverName string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(s.mutual(t, serverName))))
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

var uniqueCount atomic.Uint64

// unique makes a name that no other test, run or process uses: tests share one stack.
func unique(prefix string) string {
	return fmt.Sprintf("%s-%d-%d-%d", prefix, os.Getpid(), time.Now().UnixNano(), uniqueCount.Add(1))
}

// guid makes a source id in the form of an app GUID.
func guid() string {
	return fmt.Sprintf("%08x-%04x-4000-8000-%012x",
		uint32(os.Getpid()), uniqueCount.Add(1)&0xffff, time.Now().UnixNano()&0xffffffffffff)
}

// patience is how long a test waits for what must come. Generous: the machine may be busy with other things.
const patience = 30 * time.Second

// eventually polls until the condition holds; at the deadline it fails with what the condition last said.
func eventually(t *testing.T, what string, condition func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, state := condition()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %s", what, patience, state)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// pause is the step of a poll.
func pause() { time.Sleep(25 * time.Millisecond) }
