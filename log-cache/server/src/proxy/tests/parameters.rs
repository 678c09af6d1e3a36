//! Arbitrary paths and parameters: each request has an answer or an error of its client.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::runtime::Runtime;

use super::*;

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (-2..1003i64).prop_map(|number| number.to_string()),
        select(
            &[
                "9223372036854775808",
                "-9223372036854775809",
                "1e3",
                "0x10",
                "+5",
                " 7",
                "",
                "٣",
                "NaN"
            ][..]
        )
        .prop_map(str::to_owned),
    ]
}

fn parameter() -> impl Strategy<Value = String> {
    let names = &[
        "start_time",
        "startTime",
        "end_time",
        "endTime",
        "limit",
        "descending",
        "name_filter",
        "nameFilter",
        "envelope_types",
        "envelopeTypes",
        "local_only",
        "source_id",
        "query",
        "time",
        "start",
        "end",
        "step",
        "",
    ][..];
    let words = |words: &'static [&'static str]| select(words).prop_map(str::to_owned);
    let value = prop_oneof![
        4 => number(),
        1 => words(&["true", "T", "0", "yes", "LOG", "ANY", "GAUGE", "SPAN", "7"]),
        1 => words(&["(", "[", "(?i)a+", "(a{9999}){9999}", "\\p{Greek}", "(?=x)", "x*", "."]),
        1 => ".{0,12}",
        1 => "[a-z(){}*+?|.\\\\]{0,5000}",
    ];
    let pair = (select(names), value).prop_map(|(name, value)| {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.append_pair(name, &value).finish()
    });
    let raw = words(&["%", "%zz", "%ff%fe", "&&", "=", "a=b=c", "limit", "limit=1&limit=x"]);
    prop_oneof![9 => pair, 1 => raw]
}

fn path() -> impl Strategy<Value = String> {
    let source = select(
        &[
            "app-1", "a%2Fb", "app-2", "absent", "%20", "%ff", "%", "%00", ".", "..", "a/b", "", "%2e%2e",
        ][..],
    );
    let name = select(&["meta", "info", "query", "query_range", "read", "meta/", "META"][..]);
    prop_oneof![
        6 => source.prop_map(|source| format!("/api/v1/read/{source}")),
        1 => name.prop_map(|name| format!("/api/v1/{name}")),
        1 => "[a-z/%.]{0,20}".prop_map(|path| format!("/{path}")),
    ]
}

/// Both REST services, over one store for all cases.
struct RestServices {
    runtime: Runtime,
    public: Router,
    of_the_ring: Router,
    _setup: Setup,
}

impl RestServices {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let setup = runtime.block_on(async { Setup::new() });
        Self {
            public: setup.router.clone(),
            of_the_ring: setup.gateway.clone().router(),
            runtime,
            _setup: setup,
        }
    }

    /// Returns status and body of the answer to the operator's token, or to a certificate.
    fn ask(&self, uri: &http::Uri, token: bool) -> (u16, Vec<u8>) {
        let (router, headers) = if token {
            (&self.public, Some(format!("bearer {TOKEN}")))
        } else {
            (&self.of_the_ring, None)
        };
        let mut request = Request::get(uri.clone());
        if let Some(authorization) = headers {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Body::empty()).expect("a request");
        self.runtime.block_on(async {
            let answer = router.clone().oneshot(request).await.expect("infallible");
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(answer.into_body(), 2 * reading::REST_PAGE).await;
            (status, body.expect("within the limit").to_vec())
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No request causes an internal error, with a token or with a certificate. PromQL is answered with 501.
    #[test]
    fn no_request_causes_an_internal_error(path in path(), parameters in vec(parameter(), 0..5), token in any::<bool>()) {
        thread_local! {
            static SERVICES: RestServices = RestServices::new();
        }
        let Ok(uri) = format!("{path}?{}", parameters.join("&")).parse::<http::Uri>() else {
            return Ok(());
        };
        let (status, body) = SERVICES.with(|services| services.ask(&uri, token));
        let promql = uri.path().starts_with("/api/v1/query") && status == 501;
        prop_assert!(status < 500 || promql, "{}: {} {}", uri, status, String::from_utf8_lossy(&body));
        if status == 400 && body.first() == Some(&b'{') {
            let refusal: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            let message = refusal["message"].as_str().unwrap_or_default();
            prop_assert!(message.len() > 10, "{}: {}", uri, refusal);
        }
    }
}
