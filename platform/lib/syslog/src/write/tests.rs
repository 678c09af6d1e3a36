use weir_envelope::encode::Writer;

use super::*;

fn write(formatter: &mut Formatter, build: impl FnOnce(&mut Writer<'_>)) -> Result<Vec<String>, Unconvertible> {
    let mut envelope = Vec::new();
    build(&mut Writer::new(&mut envelope));
    let (mut out, mut ends) = (b"before".to_vec(), vec![6]);
    let written = formatter.write(EnvelopeView::new(&envelope), Framing::None, &mut out, &mut ends);
    if written.is_err() {
        assert_eq!((out.as_slice(), ends.as_slice()), (&b"before"[..], &[6][..]));
    }
    let count = written?;
    assert_eq!(ends.len(), count as usize + 1);
    Ok(ends
        .windows(2)
        .map(|pair| String::from_utf8_lossy(&out[pair[0] as usize..pair[1] as usize]).into_owned())
        .collect())
}

fn one(formatter: &mut Formatter, build: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut messages = write(formatter, build).unwrap();
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

/// The texts of the original's own tests.
#[test]
fn logs_look_like_the_original_s() {
    let mut formatter = Formatter::new("test-hostname", true);
    let mut log = |tags: &[(&str, &str)], stream| {
        one(&mut formatter, |envelope| {
            envelope.timestamp(12_345_678).source_id("test-app-id").instance_id("2");
            envelope.tags(tags.iter().copied()).log(b"just a test", stream);
        })
    };
    assert_eq!(
        log(&[("source_type", "MY TASK")], Stream::Out),
        "<14>1 1970-01-01T00:00:00.012345+00:00 test-hostname test-app-id [MY-TASK/2] - \
         [tags@47450 source_type=\"MY TASK\"] just a test\n"
    );
    assert_eq!(
        log(&[("source_type", "MY TASK"), ("log-tag", "\"]\\")], Stream::Err),
        "<11>1 1970-01-01T00:00:00.012345+00:00 test-hostname test-app-id [MY-TASK/2] - \
         [tags@47450 log-tag=\"\\\"\\]\\\\\" source_type=\"MY TASK\"] just a test\n"
    );
    let tags = [
        ("source_type", "TASK/こんにちは"),
        ("organization_name", "some_org"),
        ("space_name", "some space"),
        ("app_name", "some_app--"),
    ];
    assert_eq!(
        log(&tags, Stream::Err),
        "<11>1 1970-01-01T00:00:00.012345+00:00 someorg.some-space.someapp test-app-id [TASK//2] - \
         [tags@47450 app_name=\"some_app--\" organization_name=\"some_org\" source_type=\"TASK/こんにちは\" \
         space_name=\"some space\"] just a test\n"
    );
}
