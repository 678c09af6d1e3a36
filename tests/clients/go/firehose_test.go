package clients

import (
	"strings"
	"testing"
	"time"

	v2 "code.cloudfoundry.org/go-loggregator/v10/rpc/loggregator_v2"
	"github.com/cloudfoundry/noaa/v2/consumer"
	"github.com/cloudfoundry/sonde-go/events"
)

// TestFirehoseEveryKind: each v2 kind comes out of the firehose as the v1 message that the contract names.
func TestFirehoseEveryKind(t *testing.T) {
	s := openStack(t)
	app := guid()
	hose := s.firehose(t, unique("hose"), app)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(app, "probe"))) }, hose)

	log := logEnvelope(app, "bytes \x00\xff stay")
	log.GetLog().Type = v2.Log_ERR
	for name, value := range map[string]string{"deployment": "cf", "job": "cell", "index": "idx", "ip": "10.0.0.9", "custom": "tag"} {
		log.Tags[name] = value
	}
	client.Emit(log)
	client.Emit(counterEnvelope(app, "requests", 3))
	client.Emit(gaugeEnvelope(app, "first", "second"))
	client.Emit(containerMetrics(app))
	timer := httpTimer(app)
	client.Emit(timer)
	client.Emit(eventEnvelope(app, "has no v1 form", ""))
	settled(t, "v1 envelopes", 6, hose.count)

	values := map[string]float64{}
	for _, e := range hose.envelopes() {
		if e.GetTags()["source_id"] != app {
			t.Errorf("tag source_id: %v", e)
		}
		switch e.GetEventType() {
		case events.Envelope_LogMessage:
			m := e.GetLogMessage()
			if string(m.GetMessage()) != "bytes \x00\xff stay" || m.GetMessageType() != events.LogMessage_ERR || m.GetAppId() != app ||
				m.GetSourceType() != "APP/PROC/WEB" || m.GetSourceInstance() != "0" || m.GetTimestamp() != log.GetTimestamp() {
				t.Errorf("log: %v", e)
			}
			if e.GetOrigin() != "rep" || e.GetDeployment() != "cf" || e.GetJob() != "cell" || e.GetIndex() != "idx" || e.GetIp() != "10.0.0.9" ||
				e.GetTimestamp() != log.GetTimestamp() {
				t.Errorf("log, outer fields: %v", e)
			}
			if e.GetTags()["custom"] != "tag" || e.GetTags()["origin"] != "" || e.GetTags()["source_type"] != "" || e.GetTags()["job"] != "" {
				t.Errorf("log, tags: %v", e.GetTags())
			}
		case events.Envelope_CounterEvent:
			if m := e.GetCounterEvent(); m.GetName() != "requests" || m.GetDelta() != 3 || m.GetTotal() != 3 {
				t.Errorf("counter: %v", e)
			}
			if e.GetTags()["instance_id"] != "0" {
				t.Errorf("counter, tags: %v", e.GetTags())
			}
		case events.Envelope_ValueMetric:
			values[e.GetValueMetric().GetName()] = e.GetValueMetric().GetValue()
			if e.GetValueMetric().GetUnit() != "bytes" || e.GetTags()["instance_id"] != "0" {
				t.Errorf("value metric: %v", e)
			}
		case events.Envelope_ContainerMetric:
			m := e.GetContainerMetric()
			if m.GetApplicationId() != app || m.GetInstanceIndex() != 7 || m.GetCpuPercentage() != 12.5 || m.GetMemoryBytes() != 1000 ||
				m.GetDiskBytes() != 2000 || m.GetMemoryBytesQuota() != 3000 || m.GetDiskBytesQuota() != 4000 {
				t.Errorf("container metric: %v", e)
			}
		case events.Envelope_HttpStartStop:
			m := e.GetHttpStartStop()
			if m.GetStartTimestamp() != timer.GetTimer().GetStart() || m.GetStopTimestamp() != timer.GetTimer().GetStop() ||
				m.GetPeerType() != events.PeerType_Server || m.GetMethod() != events.Method_POST || m.GetUri() != "https://app.example/path?q=1" ||
				m.GetRemoteAddress() != "10.0.0.1:4711" || m.GetUserAgent() != "agent/1.0" || m.GetStatusCode() != 201 || m.GetContentLength() != 1234 ||
				m.GetInstanceIndex() != 3 || m.GetInstanceId() != "instance-guid" || len(m.GetForwarded()) != 2 {
				t.Errorf("http: %v", e)
			}
			// 954ac8b8-7de4-4a06-…: the first eight bytes, little end first.
			if m.GetRequestId().GetLow() != 0x064ae47db8c84a95 || m.GetApplicationId() == nil {
				t.Errorf("http, ids: %v", e)
			}
		default:
			t.Errorf("unexpected %v", e)
		}
	}
	if len(values) != 2 || values["first"] != 0.5 || values["second"] != 1.5 {
		t.Errorf("value metrics: %v", values)
	}
}

// TestFirehoseSubscriptions: equal subscription ids share the stream, others get all of it.
func TestFirehoseSubscriptions(t *testing.T) {
	const n = 2000
	s := openStack(t)
	source, id := unique("hose-source"), unique("hose")
	one, two, alone := s.firehose(t, id, source), s.firehose(t, id, source), s.firehose(t, unique("hose"), source)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, one, two, alone)
	paced(client, n, func(i int) *v2.Envelope { return logEnvelope(source, numbered(i)) })
	settled(t, "the shared firehose", n, func() int { return one.count() + two.count() })
	settled(t, "the other one", n, alone.count)
	exactlyOnce(t, "the shared firehose", append(one.numbers(t), two.numbers(t)...), n)
	exactlyOnce(t, "the other one", alone.numbers(t), n)
	if share := one.count(); share < n/3 || share > n*2/3 {
		t.Errorf("one member got %d of %d", share, n)
	}
}

// TestFirehoseFilter: filter-type=logs has only log messages, metrics all the rest.
func TestFirehoseFilter(t *testing.T) {
	s := openStack(t)
	app := guid()
	filtered := func(filter consumer.EnvelopeFilter) *nozzle {
		c := s.noaa(t, s.Firehose)
		envelopes, errors := c.FilteredFirehose(unique("hose"), s.token, filter)
		return collect(c, envelopes, errors, app)
	}
	logs, metrics := filtered(consumer.LogMessages), filtered(consumer.Metrics)
	client := s.emitter(t)
	ready(t, func() {
		client.Emit(asProbe(logEnvelope(app, "probe")))
		client.Emit(asProbe(counterEnvelope(app, "probe", 1)))
	}, logs, metrics)
	client.Emit(logEnvelope(app, "text"))
	client.Emit(counterEnvelope(app, "c", 1))
	client.Emit(gaugeEnvelope(app, "g"))
	client.Emit(containerMetrics(app))
	client.Emit(httpTimer(app))
	settled(t, "logs", 1, logs.count)
	settled(t, "metrics", 4, metrics.count)
	if kind := logs.envelopes()[0].GetEventType(); kind != events.Envelope_LogMessage {
		t.Errorf("the logs firehose got %v", kind)
	}
	for _, e := range metrics.envelopes() {
		if e.GetEventType() == events.Envelope_LogMessage {
			t.Errorf("the metrics firehose got %v", e)
		}
	}
}

// TestFirehoseToken: without a good token noaa shows the original's words.
func TestFirehoseToken(t *testing.T) {
	s := openStack(t)
	for _, c := range []struct{ name, token, body string }{
		{"none", "", "You are not authorized. authorization not provided"},
		{"wrong", "bearer nonsense", "You are not authorized. invalid authorization"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, failed := s.noaa(t, s.Firehose).FirehoseWithoutReconnect(unique("hose"), c.token)
			var err error
			select {
			case err = <-failed:
			case <-time.After(patience):
				t.Fatal("the firehose was opened")
			}
			if err == nil || !strings.Contains(err.Error(), c.body) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// refresher hands noaa a good token once it is asked for one.
type refresher struct {
	token string
	asked chan struct{}
}

func (r *refresher) RefreshAuthToken() (string, error) {
	select {
	case r.asked <- struct{}{}:
	default:
	}
	return r.token, nil
}

// TestFirehoseTokenRefresh: a 401 makes noaa ask for a new token, and the second attempt works.
func TestFirehoseTokenRefresh(t *testing.T) {
	s := openStack(t)
	source := unique("refresh")
	c := s.noaa(t, s.Firehose)
	r := &refresher{token: s.token, asked: make(chan struct{}, 1)}
	c.RefreshTokenFrom(r)
	envelopes, failed := c.Firehose(unique("hose"), "bearer expired")
	hose := collect(c, envelopes, failed, source)
	client := s.emitter(t)
	ready(t, func() { client.Emit(asProbe(logEnvelope(source, "probe"))) }, hose)
	select {
	case <-r.asked:
	default:
		t.Error("connected without asking for a token")
	}
}
