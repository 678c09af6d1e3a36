package clients

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	syslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"
)

// receiver takes syslog as receivers built on go-syslog do (Promtail, Alloy, Telegraf, the OpenTelemetry Collector): with
// the library's default limits, and the connection ends at what the library does not take.
type receiver struct {
	listener net.Listener
	// most messages of a connection, after which it ends; 0: as many as come.
	most int

	mu       sync.Mutex
	messages []*rfc5424.SyslogMessage
	refused  []string
}

// receive starts a receiver; config is nil for plain TCP.
func receive(t *testing.T, config *tls.Config, most int) *receiver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	r := &receiver{listener: listener, most: most}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

func (r *receiver) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	count := 0
	parser := octetcounting.NewParser(syslog.WithListener(func(result *syslog.Result) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if result.Error != nil {
			r.refused = append(r.refused, result.Error.Error())
			return
		}
		count++
		if r.most != 0 && count > r.most {
			return
		}
		r.messages = append(r.messages, result.Message.(*rfc5424.SyslogMessage))
		if r.most != 0 && count == r.most {
			_ = conn.Close()
		}
	}))
	parser.Parse(conn)
}

// texts are the distinct messages that arrived from app, as a set.
func (r *receiver) texts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	texts := map[string]int{}
	for _, message := range r.messages {
		if message.Message != nil {
			texts[strings.TrimSuffix(*message.Message, "\n")]++
		}
	}
	return texts
}

func (r *receiver) url(scheme string) string {
	return fmt.Sprintf("%s://%s", scheme, r.listener.Addr())
}

// certificate makes a certificate for 127.0.0.1 and writes it to a file that a drain can trust.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "receiver"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatalf("certificate: %v", err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatalf("certificate: %v", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

// weir runs the program against the stack and returns what it prints.
func weir(t *testing.T, args ...string) []byte {
	t.Helper()
	program, endpoints := os.Getenv("WEIR_BIN"), os.Getenv("WEIR_ENDPOINTS")
	if program == "" || endpoints == "" {
		t.Skip("no weir: set WEIR_BIN and WEIR_ENDPOINTS (tests/clients/run does)")
	}
	command := exec.Command(program, append([]string{"--state-dir", filepath.Dir(endpoints)}, args...)...)
	var errors bytes.Buffer
	command.Stderr = &errors
	output, err := command.Output()
	if err != nil {
		t.Fatalf("weir %v: %v: %s", args, err, errors.String())
	}
	return output
}

// bind drains app to url until the test ends.
func bind(t *testing.T, app, url, ca string) {
	t.Helper()
	args := []string{"drain", "add", "--no-probe", "--source-id", app}
	if ca != "" {
		args = append(args, "--ca", ca)
	}
	weir(t, append(args, url)...)
	t.Cleanup(func() { weir(t, "drain", "remove", "--source-id", app, url) })
}

// row is what the stack says of a drain.
type row struct {
	App     string `json:"app"`
	State   string `json:"state"`
	Waiting uint64 `json:"waiting_lines"`
	Lost    uint64 `json:"lost"`
	Error   string `json:"last_error"`
}

func drainOf(t *testing.T, app string) row {
	t.Helper()
	var rows []row
	if err := json.Unmarshal(weir(t, "drain", "list", "--json"), &rows); err != nil {
		t.Fatalf("drain list: %v", err)
	}
	for _, row := range rows {
		if row.App == app && row.State != "removed" {
			return row
		}
	}
	t.Fatalf("no drain of %s", app)
	return row{}
}

// booked waits until nothing waits for the drain and so many lines are counted as lost.
func booked(t *testing.T, app string, lost uint64) {
	t.Helper()
	eventually(t, "the drain's account", func() (bool, string) {
		row := drainOf(t, app)
		return row.Waiting == 0 && row.Lost == lost && row.State == "flowing", fmt.Sprintf("%+v", row)
	})
}

// told are the lines about its drains in the app's own stream.
func told(t *testing.T, s *stack, app string) []string {
	t.Helper()
	envelopes, err := s.interfaces(t)["grpc"].Read(deadline(t), app, time.Unix(0, 0))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	var lines []string
	for _, envelope := range envelopes {
		if envelope.GetTags()["source_type"] == "LGR" {
			lines = append(lines, string(envelope.GetLog().GetPayload()))
		}
	}
	return lines
}

// Setup: an app whose first line of 51, and one in the middle, are longer than go-syslog takes, drained over TCP and over
// TLS. Must hold: all other lines arrive; the two are counted once each and told in the app's stream.
func TestDrainToGoSyslogSetsAsideWhatIsTooLong(t *testing.T) {
	s := openStack(t)
	config, ca := certificate(t)
	for scheme, config := range map[string]*tls.Config{"syslog": nil, "syslog-tls": config} {
		t.Run(scheme, func(t *testing.T) {
			r := receive(t, config, 0)
			app := guid()
			bind(t, app, r.url(scheme), map[string]string{"syslog-tls": ca}[scheme])
			client := s.emitter(t)
			paced(client, 51, func(i int) *v2.Envelope {
				text := numbered(i)
				if i == 0 || i == 30 {
					text += strings.Repeat("x", 9000)
				}
				return logEnvelope(app, text)
			})
			eventually(t, "the lines that can be taken", func() (bool, string) {
				texts := r.texts()
				for i := range 51 {
					if i != 0 && i != 30 && texts[numbered(i)] == 0 {
						return false, fmt.Sprintf("%d of 49; the drain: %+v", len(texts), drainOf(t, app))
					}
				}
				return true, ""
			})
			booked(t, app, 2)
			eventually(t, "the reason in the app's stream", func() (bool, string) {
				lines := told(t, s, app)
				for _, line := range lines {
					if strings.Contains(line, "not taken by syslog drain") && strings.Contains(line, "of 9 kB") {
						return true, ""
					}
				}
				return false, strings.Join(lines, "\n")
			})
		})
	}
}

// Setup: receivers that end each connection after so many messages. Must hold: they get all messages, and none counts as
// lost.
func TestDrainToAReceiverThatEndsConnections(t *testing.T) {
	s := openStack(t)
	config, ca := certificate(t)
	for _, most := range []int{1, 2, 5} {
		for scheme, config := range map[string]*tls.Config{"syslog": nil, "syslog-tls": config} {
			t.Run(fmt.Sprintf("%s-%d", scheme, most), func(t *testing.T) {
				t.Parallel()
				r := receive(t, config, most)
				app := guid()
				bind(t, app, r.url(scheme), map[string]string{"syslog-tls": ca}[scheme])
				client := s.emitter(t)
				paced(client, 30, func(i int) *v2.Envelope { return logEnvelope(app, numbered(i)) })
				eventually(t, "all lines", func() (bool, string) {
					texts := r.texts()
					for i := range 30 {
						if texts[numbered(i)] == 0 {
							return false, fmt.Sprintf("%d of 30; the drain: %+v", len(texts), drainOf(t, app))
						}
					}
					return true, ""
				})
				eventually(t, "the drain's account", func() (bool, string) {
					row := drainOf(t, app)
					return row.Waiting == 0 && row.Lost == 0, fmt.Sprintf("%+v", row)
				})
			})
		}
	}
}

// hard makes a text of up to most letters, with everything in it that needs care.
func hard(random *mathrand.Rand, most int) string {
	letters := []rune("abc XYZ019-_.,:;/\\\"'[]{}()<>=|~\t\x01äß\u2603\U0001f980")
	var text strings.Builder
	for range random.IntN(most + 1) {
		text.WriteRune(letters[random.IntN(len(letters))])
	}
	return text.String()
}

// name makes a name that RFC 5424 has letters for, of one letter up to most.
func name(random *mathrand.Rand, most int) string {
	letters := "abcXYZ019-_.,:;/\\'[{}()<>|~!#$%&*+?@^`"
	var text strings.Builder
	for range 1 + random.IntN(most) {
		text.WriteByte(letters[random.IntN(len(letters))])
	}
	return text.String()
}

// Setup: envelopes of all kinds with names and values by chance, many longer than RFC 5424 allows, drained with all their
// tags. Must hold: go-syslog takes every message; what is longer is shortened and what is not stays as it is.
func TestGoSyslogTakesWhatIsWritten(t *testing.T) {
	s := openStack(t)
	r := receive(t, nil, 0)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	app := guid()
	bind(t, app, r.url("syslog")+"?drain-data=all", "")
	const count = 400
	client := s.emitter(t)
	paced(client, count, func(i int) *v2.Envelope {
		tags := map[string]string{"number": fmt.Sprint(i), strings.Repeat("long", 10): "kept"}
		for range random.IntN(6) {
			tags[name(random, 80)] = hard(random, 60)
		}
		if random.IntN(4) == 0 {
			tags[""] = hard(random, 20)
		}
		for _, key := range []string{"source_type", "organization_name", "space_name", "app_name"} {
			if random.IntN(2) == 0 {
				tags[key] = hard(random, 200)
			}
		}
		envelope := &v2.Envelope{
			Timestamp:  random.Int64() - random.Int64(),
			SourceId:   app,
			InstanceId: name(random, 300),
			Tags:       tags,
		}
		switch random.IntN(5) {
		case 0:
			envelope.Message = &v2.Envelope_Counter{Counter: &v2.Counter{Name: hard(random, 80), Delta: 1}}
		case 1:
			envelope.Message = &v2.Envelope_Gauge{Gauge: &v2.Gauge{Metrics: map[string]*v2.GaugeValue{
				hard(random, 80): {Unit: hard(random, 40), Value: random.NormFloat64() * 1e9},
			}}}
		case 2:
			envelope.Message = &v2.Envelope_Timer{Timer: &v2.Timer{Name: hard(random, 80), Start: random.Int64(), Stop: random.Int64()}}
		case 3:
			envelope.Message = &v2.Envelope_Event{Event: &v2.Event{Title: hard(random, 80), Body: hard(random, 200)}}
		default:
			envelope.Message = &v2.Envelope_Log{Log: &v2.Log{Payload: []byte(hard(random, 300)), Type: v2.Log_Type(random.IntN(3))}}
		}
		return envelope
	})
	eventually(t, "every message", func() (bool, string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.refused) > 0 {
			t.Fatalf("go-syslog refuses: %s", r.refused[0])
		}
		found := map[string]bool{}
		for _, message := range r.messages {
			if message.StructuredData == nil {
				continue
			}
			tags := (*message.StructuredData)["tags@47450"]
			if tags["number"] == "" {
				continue
			}
			found[tags["number"]] = true
			if tags["longlonglonglonglonglon-"+shortened] != "kept" {
				t.Fatalf("the long name is not as it should be: %v", tags)
			}
		}
		return len(found) == count, fmt.Sprintf("%d of %d", len(found), count)
	})
	booked(t, app, 0)
}

// shortened is what ends the short form of the name of forty letters: its CRC-32.
var shortened = fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(strings.Repeat("long", 10))))
