package clients

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
)

// get asks the gateway as curl would.
func (s *stack) get(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.mutual(t, "")}, Timeout: patience}
	response, err := client.Get(s.LogCacheGateway + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// sameJSON compares two JSON texts without regard to white space and the order of keys.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	normal := func(text string) string {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		again, _ := json.Marshal(value)
		return string(again)
	}
	if normal(got) != normal(want) {
		t.Errorf("got  %s\nwant %s", normal(got), normal(want))
	}
}

// TestGatewayJSON: the bodies that scripts parse: 64-bit numbers as strings, default values shown, names in snake case.
func TestGatewayJSON(t *testing.T) {
	s := openStack(t)
	source := unique("json")
	base := time.Now().Add(-time.Minute).UnixNano()
	timestamp := func(i int) string { return strconv.FormatInt(base+int64(i), 10) }
	log := &v2.Envelope{SourceId: source, Message: &v2.Envelope_Log{Log: &v2.Log{Payload: []byte("hello")}}}
	counter := &v2.Envelope{SourceId: source, InstanceId: "1", Tags: map[string]string{"a": "b"}, Message: &v2.Envelope_Counter{Counter: &v2.Counter{Name: "c", Delta: 1 << 60}}}
	old := &v2.Envelope{SourceId: source, DeprecatedTags: map[string]*v2.Value{"n": {Data: &v2.Value_Integer{Integer: 5}}}, Message: &v2.Envelope_Event{Event: &v2.Event{Title: "t"}}}
	for i, e := range []*v2.Envelope{log, counter, old} {
		e.Timestamp = base + int64(i)
	}
	s.store(t, log, counter, old)
	stored(t, s.interfaces(t)["grpc"], source, 3)

	response, body := s.get(t, "/api/v1/read/"+source+"?start_time="+timestamp(0))
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
		t.Errorf("read: %d %q", response.StatusCode, response.Header.Get("Content-Type"))
	}
	if !strings.HasSuffix(body, "\n") {
		t.Error("read: no newline at the end")
	}
	sameJSON(t, body, `{"envelopes":{"batch":[
		{"timestamp":"`+timestamp(0)+`","source_id":"`+source+`","instance_id":"","deprecated_tags":{},"tags":{},
		 "log":{"payload":"`+base64.StdEncoding.EncodeToString([]byte("hello"))+`","type":"OUT"}},
		{"timestamp":"`+timestamp(1)+`","source_id":"`+source+`","instance_id":"1","deprecated_tags":{},"tags":{"a":"b"},
		 "counter":{"name":"c","delta":"1152921504606846976","total":"0"}},
		{"timestamp":"`+timestamp(2)+`","source_id":"`+source+`","instance_id":"","deprecated_tags":{"n":{"integer":"5"}},"tags":{},
		 "event":{"title":"t","body":""}}]}}`)

	// The aliases of the JSON names, numbers for kinds, unknown parameters.
	for _, query := range []string{
		"startTime=" + timestamp(0) + "&envelopeTypes=COUNTER", "start_time=" + timestamp(0) + "&envelope_types=2", "start_time=" + timestamp(0) + "&envelope_types=COUNTER&unknown=1",
	} {
		response, body := s.get(t, "/api/v1/read/"+source+"?"+query)
		if response.StatusCode != http.StatusOK || strings.Count(body, `"timestamp"`) != 1 || !strings.Contains(body, `"counter"`) {
			t.Errorf("%s: %d %s", query, response.StatusCode, body)
		}
	}
	// An empty answer still has its list.
	_, body = s.get(t, "/api/v1/read/"+unique("nobody"))
	sameJSON(t, body, `{"envelopes":{"batch":[]}}`)
	// A refusal has the code of the gRPC call; its status is 400 here, 500 in the original.
	response, body = s.get(t, "/api/v1/read/"+source+"?limit=1001")
	var failure struct {
		Code    *int   `json:"code"`
		Message string `json:"message"`
		Details []any  `json:"details"`
	}
	if err := json.Unmarshal([]byte(body), &failure); err != nil || response.StatusCode != http.StatusBadRequest || failure.Code == nil || *failure.Code != 2 || failure.Message == "" || failure.Details == nil {
		t.Errorf("limit=1001: %d %s (%v)", response.StatusCode, body, err)
	}

	response, body = s.get(t, "/api/v1/info")
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(body, `{"version":"`) || !strings.HasSuffix(body, "\"}\n") {
		t.Errorf("info: %d %q", response.StatusCode, body)
	}
	_, body = s.get(t, "/api/v1/meta")
	var meta struct {
		Meta map[string]map[string]string `json:"meta"`
	}
	if err := json.Unmarshal([]byte(body), &meta); err != nil {
		t.Fatalf("meta: %v: %s", err, body)
	}
	got := meta.Meta[source]
	if got["count"] != "3" || got["expired"] != "0" || got["oldest_timestamp"] != timestamp(0) || got["newest_timestamp"] != timestamp(2) {
		t.Errorf("meta: %v", got)
	}
}

// TestGatewaySourceIDs: a source id may have slashes, raw or escaped, and other characters of URLs.
func TestGatewaySourceIDs(t *testing.T) {
	s := openStack(t)
	for source, paths := range map[string][]string{
		unique("a/b"): {"%s", "%2F"}, unique("with space"): {"%20"}, unique("per%cent"): {"%25"},
	} {
		s.store(t, series(source, 1)...)
		stored(t, s.interfaces(t)["grpc"], source, 1)
		for _, path := range paths {
			escaped := strings.NewReplacer("/", path, " ", path, "%", path).Replace(source)
			if path == "%s" {
				escaped = source
			}
			response, body := s.get(t, "/api/v1/read/"+escaped)
			if response.StatusCode != http.StatusOK || strings.Count(body, `"timestamp"`) != 1 {
				t.Errorf("%s as %s: %d %s", source, escaped, response.StatusCode, body)
			}
		}
	}
}
