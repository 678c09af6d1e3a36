//! Messages from which fuzzing starts: one of each kind, and the ill-formed ones that are hard to come upon.

use prost::Message as _;
use weir_envelope::encode::Writer;
use weir_envelope::v1::to_v1;
use weir_envelope::view::{EnvelopeView, Stream, TagValue};
use weir_envelope::wire::{put_bytes, put_varint};
use weir_proto::events;

/// Named messages.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// The seeds of a target by its name; none if there is no such target.
#[must_use]
pub fn of(target: &str) -> Seeds {
    let mut all = all().into_iter();
    all.find(|(name, _)| *name == target)
        .map(|(_, seeds)| seeds)
        .unwrap_or_default()
}

/// The seeds of each target.
#[must_use]
pub fn all() -> Vec<(&'static str, Seeds)> {
    let (v2, v1) = (envelopes(), v1_envelopes());
    vec![
        ("batch", batches(&v2)),
        ("view", v2.clone()),
        ("to_v1", v2.clone()),
        ("from_v1", v1),
        ("json", v2.clone()),
        ("tags", v2.clone()),
        ("syslog_read", messages()),
        ("syslog_frames", streams()),
        ("syslog_write", v2),
        ("token", texts(TOKENS)),
        ("form", texts(FORMS)),
        ("filter", texts(FILTERS)),
        ("redirect", texts(REDIRECTS)),
        ("stream", texts(STREAMS)),
        ("nats_operations", texts(OPERATIONS)),
        ("registration", texts(REGISTRATIONS)),
    ]
}

/// Headers and claims of tokens, a line each.
const TOKENS: &[&str] = &[
    "{\"alg\":\"RS256\",\"kid\":\"key-1\",\"typ\":\"JWT\"}\n{\"jti\":\"a\",\"iss\":\"https://uaa.test/oauth/token\",\"aud\":[\"cf\",\"logs.read\"],\
     \"scope\":[\"logs.read.web\"],\"iat\":1,\"nbf\":1,\"exp\":99999999999,\"client_id\":\"cf\",\"cid\":\"cf\",\"user_id\":\"u\",\"user_name\":\"n\"}",
    "{\"alg\":\"none\",\"kid\":\"key-1\",\"crit\":[\"x\"],\"jku\":\"https://else\"}\n{\"jti\":\"a-r\",\"iss\":\"\",\"aud\":\"doppler\",\"exp\":1}",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImtleS0xIn0.eyJqdGkiOiJhIn0.c2lnbmF0dXJl",
];

/// Forms.
const FORMS: &[&str] = &[
    "grant_type=password&username=alice+b&password=%C3%A4%26&client_id=cf&client_secret=",
    "a=1&&b&=c&d=%41%2b&%65=",
    "a=1&%61=2",
    "a=%&b=%zz&c=%ff&d=%00",
];

/// Operations of NATS clients.
const OPERATIONS: &[&str] = &[
    "CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\nPONG\r\nsub a.* q 1\r\nUNSUB 1 5\r\n+OK\r\n",
    "PUB a.b 5\r\nhello\r\nPUB a.b r 0\r\n\r\npub\ta \t 1\nx\r\n",
    "HPUB a.b r 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHPUB a 0 2\r\nhi\r\nINFO {}\r\n",
    "PUB a 513\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
];

/// Registrations of routes.
const REGISTRATIONS: &[&str] = &[
    "{\"host\":\"10.0.0.9\",\"port\":61000,\"tls_port\":61001,\"protocol\":\"http2\",\"uris\":[\"a.example.com/path\"],\"app\":\"guid\",\
     \"tags\":{\"component\":\"x\"},\"private_instance_id\":\"i\",\"endpoint_updated_at_ns\":1700000000000000001,\
     \"stale_threshold_in_seconds\":120,\"options\":{\"loadbalancing\":\"hash\",\"hash_balance\":\"1.25\"}}",
    "{\"uris\":null,\"tags\":null,\"options\":{\"hash_balance\":2}}",
    "{\"route_service_url\":\"http://rs.example.com\"}",
    "{\"options\":{\"hash_balance\":\"NaN\"}}",
];

/// SCIM filters.
const FILTERS: &[&str] = &[
    "userName eq \"marissa\" and (active eq true or not (email co 'x\\\\\"'))",
    "id eq \"1\" or id eq '2' or meta.created ge \"2026-01-03T10:11:12.345Z\"",
    "name.familyName sw \"a\" and verified pr",
    "userName eq \"x\"; drop table users --",
];

/// A registered redirect URI and one that is named, a line each.
const REDIRECTS: &[&str] = &[
    "https://app.example/cb\nhttps://app.example/cb",
    "http://127.0.0.1/cb?a=b\nhttp://127.0.0.1:5000/cb?a=b",
    "http://localhost:1/x\nhttp://user@localhost:2/x#f",
    "http://[::1]/cb\nhttp://[::1]:80\\@evil.example/cb",
];

/// Queries for streams.
const STREAMS: &[&str] = &[
    "log&counter.name=a&counter.name=b&source_id=web&source_id=api&shard_id=s&deterministic_name=d",
    "gauge.name=cpu,memory&timer&event&source_id=%7Bx%7D+y",
    "counter&gauge&source_id=",
    "log;source_id=x&log=%",
];

fn texts(texts: &[&str]) -> Seeds {
    let numbered = texts.iter().enumerate();
    numbered
        .map(|(number, text)| (number.to_string(), text.as_bytes().to_vec()))
        .collect()
}

fn seed(name: &str, write: impl FnOnce(&mut Writer<'_>)) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    writer
        .timestamp(1_700_000_000_000_000_000)
        .source_id("b3015d69-09cd-476d-aace-ad2d824d5ab7")
        .instance_id("0");
    writer.tags([("origin", "rep"), ("deployment", "cf"), ("source_type", "APP/PROC/WEB")]);
    write(&mut writer);
    (name.to_owned(), bytes)
}

/// One v2 envelope of each kind, and some that are odd.
fn envelopes() -> Seeds {
    let mut seeds = vec![
        seed("log", |writer| drop_it(writer.log(b"hello", Stream::Err))),
        seed("error", |writer| {
            drop_it(
                writer
                    .tags([("__v1_type", "Error"), ("source", "s"), ("code", "7")])
                    .log(b"bad", Stream::Out),
            );
        }),
        seed("counter", |writer| drop_it(writer.counter("requests", 1, 1000))),
        seed("gauge", |writer| {
            drop_it(writer.gauge(&[("a", "ms", 1.5), ("b", "", f64::NAN)]))
        }),
        seed("container", |writer| {
            drop_it(writer.gauge(&[
                ("cpu", "percentage", 1.5),
                ("memory", "bytes", 2.0),
                ("disk", "bytes", 3.0),
                ("memory_quota", "bytes", 4.0),
                ("disk_quota", "bytes", 5.0),
            ]));
        }),
        seed("http", |writer| {
            drop_it(
                writer
                    .tags([
                        ("request_id", "b3015d69-09cd-476d-aace-ad2d824d5ab7"),
                        ("peer_type", "Server"),
                        ("method", "GET"),
                        ("uri", "https://shop.example/"),
                        ("remote_address", "10.0.0.1:40000"),
                        ("user_agent", "curl"),
                        ("status_code", "200"),
                        ("content_length", "12"),
                        ("routing_instance_id", "i"),
                        ("forwarded", "10.0.0.1\n10.0.0.2"),
                    ])
                    .timer("http", 1, 2),
            );
        }),
        seed("event", |writer| drop_it(writer.event("title", "body"))),
        seed("deprecated", |writer| {
            drop_it(
                writer
                    .deprecated_tag("text", TagValue::Text("x"))
                    .deprecated_tag("integer", TagValue::Integer(-1))
                    .deprecated_tag("decimal", TagValue::Decimal(0.5))
                    .deprecated_tag("origin", TagValue::None)
                    .log(b"", Stream::Out),
            );
        }),
        seed("two_payloads", |writer| {
            drop_it(writer.gauge(&[("a", "", 1.0)]).gauge(&[("b", "", 2.0)]))
        }),
        ("empty".to_owned(), Vec::new()),
    ];
    let mut long = vec![0x4a];
    put_varint(&mut long, 1 << 32);
    seeds.push(("four_gibibytes".to_owned(), long));
    let mut nested = Vec::new();
    for _ in 0..64 {
        let mut outer = Vec::new();
        put_bytes(&mut outer, 6, &nested);
        nested = outer;
    }
    seeds.push(("nested".to_owned(), nested));
    seeds.push((
        "not_utf8".to_owned(),
        b"\x12\x02\xff\xfe\x4a\x06\x0a\x01\xff\x12\x01\xff".to_vec(),
    ));
    seeds.push(("group".to_owned(), b"\x12\x01a\x0b\x08\x01\x0c".to_vec()));
    seeds.push(("endless_varint".to_owned(), vec![0xff; 12]));
    seeds
}

/// What the envelopes are in v1.
fn v1_envelopes() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, bytes) in envelopes() {
        // Those that have no v1 form are no seeds.
        to_v1(EnvelopeView::new(&bytes), |message| {
            seeds.push((name.clone(), message.to_vec()));
        })
        .ok();
    }
    let incomplete = events::Envelope {
        origin: "o".to_owned(),
        event_type: 5,
        ..Default::default()
    };
    seeds.push(("incomplete".to_owned(), incomplete.encode_to_vec()));
    seeds
}

fn batches(envelopes: &Seeds) -> Seeds {
    let mut whole = Vec::new();
    for (_, bytes) in envelopes {
        put_bytes(&mut whole, 1, bytes);
    }
    let mut linked = whole.clone();
    put_bytes(&mut linked, weir_envelope::batch::LINK_FIELD, b"\x08\x01");
    put_bytes(&mut linked, 1, &envelopes[0].1);
    let short = whole[..whole.len() / 2].to_vec();
    vec![
        ("whole".to_owned(), whole),
        ("linked".to_owned(), linked),
        ("short".to_owned(), short),
        ("empty".to_owned(), Vec::new()),
    ]
}

/// Syslog messages of each kind, and some that are odd.
fn messages() -> Seeds {
    let tags = r#"[tags@47450 instance_id="0" source_type="APP/PROC/WEB" k="\"\\\]"]"#;
    [
        (
            "log",
            format!("<14>1 2026-01-03T10:11:12.345678+00:00 o.s.a app [APP/PROC/WEB/0] - {tags} hello\n"),
        ),
        (
            "counter",
            format!(
                "<14>1 1970-01-01T00:00:00Z - app [0] - [counter@47450 name=\"c\" total=\"2\" delta=\"1\"]{tags} \n"
            ),
        ),
        (
            "gauge",
            "<14>1 - - app [0] - [gauge@47450 name=\"g\" value=\"1e+06\" unit=\"s\"] \n".to_owned(),
        ),
        (
            "timer",
            "<14>1 - - app [0] - [timer@47450 name=\"t\" start=\"1\" stop=\"2\"] \n".to_owned(),
        ),
        (
            "event",
            "<14>1 - - app [0] - [event@47450 title=\"t\" body=\"b\"] \n".to_owned(),
        ),
        ("error", "<11>1 - - app [a/b/c] - - oh\n".to_owned()),
        (
            "foreign",
            "<165>1 2003-10-11T22:14:15.003-07:00 host prog 12 ID47 [x@1 a=\"b\"][y@1] \u{feff}text".to_owned(),
        ),
        ("no_type", "<-1>1 - - app [] - -".to_owned()),
    ]
    .map(|(name, message)| (name.to_owned(), message.into_bytes()))
    .into()
}

/// Streams of messages: whole ones, and such that have to be found again.
fn streams() -> Seeds {
    let counted = |message: &[u8]| [format!("{} ", message.len()).as_bytes(), message].concat();
    let whole: Vec<u8> = messages().iter().flat_map(|(_, message)| counted(message)).collect();
    let lines: Vec<u8> = messages().into_iter().flat_map(|(_, message)| message).collect();
    let lost = [b"5 <14>1 rest\nno 7 <14>1 x\n9999 <14>\n".as_slice(), &whole].concat();
    let long = [b"3000 <".as_slice(), &[b'x'; 2999], &whole].concat();
    vec![
        ("lost".to_owned(), lost),
        ("long".to_owned(), long),
        ("lines".to_owned(), lines),
        ("counted".to_owned(), whole),
    ]
}

/// The writer's methods return it; nothing more is wanted of it here.
fn drop_it(_: &mut Writer<'_>) {}
