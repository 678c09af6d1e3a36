//! What must hold of NATS: its operations, and the messages of routing over it.

use weir_nats_client::RegistryMessage;
use weir_platform_nats::protocol::{Limits, Operation, Step, parse};

/// The limits of a server whose clients say little.
const LIMITS: Limits = Limits {
    control_line: 256,
    payload: 512,
};

/// A stream of operations: what is read does not depend on how it comes, and a message is delivered as it was published.
pub fn operations(bytes: &[u8]) {
    let whole = read(bytes, bytes.len());
    for step in [1, 7] {
        assert_eq!(read(bytes, step), whole);
    }
}

/// All operations of a stream that comes in pieces, and why it ends, if it does.
fn read(bytes: &[u8], step: usize) -> (Vec<String>, Option<String>) {
    let (mut operations, mut done) = (Vec::new(), 0);
    let pieces = (step..bytes.len()).step_by(step.max(1)).chain([bytes.len()]);
    for end in pieces {
        loop {
            let input = &bytes[done..end];
            match parse(input, LIMITS) {
                Ok(Step::Operation(operation, length)) => {
                    assert!(0 < length && length <= input.len());
                    check(operation);
                    operations.push(format!("{operation:?}"));
                    done += length;
                }
                Ok(Step::Needs(needs)) => {
                    assert!(input.len() < needs && needs <= LIMITS.control_line + LIMITS.payload + 16);
                    break;
                }
                Err(refused) => return (operations, Some(refused.to_string())),
            }
        }
    }
    (operations, None)
}

fn check(operation: Operation<'_>) {
    let Operation::Publish(publish) = operation else {
        return;
    };
    assert!(publish.header <= publish.body.len() && publish.body.len() <= LIMITS.payload);
    if let Some(tail) = publish.tail {
        // A subscriber that reads the line finds the same reply, header and body.
        let line = [b"PUB subject ", tail].concat();
        let line = if publish.header > 0 {
            [b"H", &line[..]].concat()
        } else {
            line
        };
        match parse(
            &line,
            Limits {
                control_line: 512,
                ..LIMITS
            },
        ) {
            Ok(Step::Operation(Operation::Publish(again), length)) => {
                assert_eq!(length, line.len());
                assert_eq!((again.reply, again.header), (publish.reply, publish.header));
                assert_eq!(again.body, publish.body);
            }
            other => unreachable!("{other:?}"),
        }
    }
}

/// A message of routing: what can be read is written in a form that reads the same.
pub fn registration(bytes: &[u8]) {
    if let Ok(message) = RegistryMessage::read(bytes) {
        let written = serde_json::to_vec(&message).expect("what was read has a form in JSON");
        let again = RegistryMessage::read(&written).expect("what was written can be read");
        assert_eq!(again, message);
    }
}
