use std::time::Duration;

use super::{AccessLogSettings, write_line};
use crate::{AppTags, Backend, RequestRecord};

/// The request of the original's own test, and the line that it expects.
#[test]
fn a_line_has_the_fields_of_the_original() {
    let tags = AppTags::default();
    let record = RequestRecord {
        host: b"FakeRequestHost",
        method: "FakeRequestMethod",
        uri: "http://example.com/request",
        protocol: "FakeRequestProto",
        status: 200,
        received_bytes: 30,
        sent_bytes: 23,
        referer: b"FakeReferer",
        user_agent: b"FakeUserAgent",
        forwarded_for: b"FakeProxy1, FakeProxy2",
        forwarded_proto: b"FakeOriginalRequestProto",
        request_id: "abc-123-xyz-pdq",
        remote_address: "FakeRemoteAddr",
        started: 946_684_800_000_000_000,
        took: Some(Duration::from_secs(60)),
        router_took: Some(Duration::from_secs(10)),
        router_error: "some-router-error",
        backend: Some(Backend {
            address: "1.2.3.4:1234",
            app_id: "FakeApplicationId",
            instance_index: "3",
            instance_id: "FakeInstanceId",
            tags: &tags,
        }),
        ..RequestRecord::EMPTY
    };
    let mut line = Vec::new();
    write_line(&mut line, &record, &AccessLogSettings::default(), true);
    let expected = concat!(
        r#"FakeRequestHost - [2000-01-01T00:00:00.000000000Z] "#,
        r#""FakeRequestMethod http://example.com/request FakeRequestProto" "#,
        r#"200 30 23 "FakeReferer" "FakeUserAgent" "FakeRemoteAddr" "1.2.3.4:1234" "#,
        r#"x_forwarded_for:"FakeProxy1, FakeProxy2" x_forwarded_proto:"FakeOriginalRequestProto" "#,
        r#"vcap_request_id:"abc-123-xyz-pdq" response_time:60.000000 gorouter_time:10.000000 "#,
        r#"app_id:"FakeApplicationId" app_index:"3" instance_id:"FakeInstanceId" "#,
        r#"x_cf_routererror:"some-router-error""#,
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}
