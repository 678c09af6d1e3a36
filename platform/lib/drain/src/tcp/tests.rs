use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use weir_service::Context;
use weir_tls::Trust;

use super::*;
use crate::connection::Shipment;

/// The kernel does not say what has arrived. A receiver that reads has everything settled after a time. For one that
/// does not read, as much as the kernel's send buffer can hold stays unsettled.
#[tokio::test]
async fn without_answers_from_the_kernel_shipments_settle_by_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    let stream = MeteredStream::without_kernel_answers(socket.connect(address).await.unwrap());
    let (server, _) = listener.accept().await.unwrap();
    let settings = Settings {
        write_timeout: Duration::from_secs(1),
        ..Settings::new(Trust::none().unwrap())
    };
    let url = DrainUrl::parse(&format!("syslog://{address}")).unwrap();
    let (meter, send_buffer) = (stream.meter(), stream.send_buffer() as u64);
    let link = Link::new(&stream, None, &url, &settings);
    let (mut sender, mut outcomes, end) = TransportEnd::new(&settings);
    let (_trigger, context) = Context::new("test");
    context.tasks.spawn("drain connection", run(stream, link, end));
    let size = 16 * 1024;
    let ship = move |sequence| Shipment {
        sequence,
        bytes: vec![b'x'; size].into(),
        ends: [16 * 1024].into(),
        arrived: 0,
    };
    sender.send(ship(1)).await.unwrap();
    assert_eq!(outcomes.next().await, Outcome::Written(1));
    assert_eq!(outcomes.next().await, Outcome::Settled(1));
    let sending = tokio::spawn(async move {
        for sequence in 2.. {
            if sender.send(ship(sequence)).await.is_err() {
                return;
            }
        }
    });
    let mut settled = 1;
    let failure = loop {
        match outcomes.next().await {
            Outcome::Settled(_) => settled += 1,
            Outcome::Broken(failure) => break failure,
            _ => {}
        }
    };
    assert_eq!(failure.stage, Stage::Write);
    let most = meter.written() - send_buffer;
    assert!(
        settled * size as u64 <= most,
        "{settled} settled, at most {most} bytes have left"
    );
    sending.await.unwrap();
    drop(server);
}
