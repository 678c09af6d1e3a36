//! Measures the cost of the gateway: `cargo run --release -p weir-rlp-gateway --example gateway`.
//!
//! The gateway runs in this process, and the RLP and the clients in child processes, so that the measured CPU time and
//! memory are its own. Envelopes are log lines of 100 bytes with 12 tags, 423 bytes in all, and a message contains 100
//! of them. Each stream gets as many as it accepts.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a tool for people"
)]

use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Request, Response, Status};
use weir_auth::StaticToken;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_flow::LogContext;
use weir_net::{Frame, FrameStream, GrpcServer, Messages, RawServer, RawService};
use weir_rlp_gateway::{Config, RawConfig, RawLimits, Server};
use weir_tls::{Authority, ClientTls, ServerTls};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const IDLE: usize = 500;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().skip(1).map(String::as_str).collect::<Vec<_>>()[..] {
        [] => gateway().await,
        ["rlp", dir] => rlp(Path::new(dir)).await,
        ["client", dir, address, streams, query] => {
            client(
                Path::new(dir),
                address.parse().unwrap(),
                streams.parse().unwrap(),
                query,
            )
            .await;
        }
        _ => println!("gateway"),
    }
}

fn messages() -> Bytes {
    let mut builder = BatchBuilder::new();
    for number in 0..100 {
        builder.push_with(|out| {
            let mut writer = Writer::new(out);
            writer.timestamp(1_700_000_000_000_000_000 + number);
            writer
                .source_id("b3015d69-09cd-476d-aace-ad2d824d5ab7")
                .instance_id("0");
            for (name, value) in [
                ("app_id", "b3015d69-09cd-476d-aace-ad2d824d5ab7"),
                ("app_name", "orders"),
                ("deployment", "cf"),
                ("index", "a3015d69"),
                ("ip", "10.0.16.17"),
                ("job", "diego-cell"),
                ("organization_name", "shop"),
                ("origin", "rep"),
                ("process_type", "web"),
                ("source_type", "APP/PROC/WEB"),
                ("space_name", "production"),
                ("instance_id", "0"),
            ] {
                writer.tag(name, value);
            }
            writer.log(format!("{number:0>100}").as_bytes(), Stream::Out);
        });
    }
    builder.finish().bytes().clone()
}

async fn gateway() {
    let dir = tempfile::tempdir().unwrap();
    let batch = Batch::split(messages()).batch;
    println!("an envelope                {} bytes", batch.byte_len() / batch.len());
    json(&batch);

    let authority = Authority::open_or_create(dir.path()).unwrap();
    let identity = authority.issue("rlp-gateway", &[]).unwrap();
    authority.issue("rlp", &["reverselogproxy"]).unwrap();
    let (mut rlp, address) = child(&["rlp", dir.path().to_str().unwrap()]);
    let (trigger, context) = LogContext::in_memory("rlp-gateway");
    let config = Config::try_from(RawConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
        cert: identity.cert.clone(),
        key: identity.key.clone(),
        logs_provider: address.parse::<SocketAddr>().unwrap().into(),
        identity,
        limits: RawLimits {
            streams_per_caller: 1000,
            ..RawLimits::default()
        },
        ..RawConfig::default()
    });
    let authorizer = Arc::new(StaticToken::new(TOKEN).unwrap());
    let server = Server::with_authorizer(config.unwrap(), context.clone(), authorizer)
        .await
        .unwrap();
    let address = server.local_addr().to_string();
    let running = tokio::spawn(server.run());
    let dir_text = dir.path().to_str().unwrap();

    let before = resident();
    let (mut client, _) = child(&["client", dir_text, &address, &IDLE.to_string(), "event"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let subscribers = context.ledger.snapshot().subscribers;
    let held = resident().saturating_sub(before);
    println!(
        "{subscribers} idle streams           {} KiB each, {} MiB in all (the process: {} MiB)",
        held / 1024 / IDLE,
        held >> 20,
        resident() >> 20
    );
    let cpu = cpu_nanos();
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!(
        "                           {:.2} % of a core",
        (cpu_nanos() - cpu) as f64 / 20e9 * 100.0
    );
    client.kill().unwrap();
    client.wait().unwrap();
    for streams in ["1", "8"] {
        let (mut client, _) = child(&["client", dir_text, &address, streams, "log"]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (cpu, sent) = (cpu_nanos(), context.ledger.snapshot().sent);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (cpu, sent) = (cpu_nanos() - cpu, context.ledger.snapshot().sent - sent);
        println!(
            "{streams} stream(s)                {} envelopes/s, {:.2} us of CPU each",
            sent / 5,
            cpu as f64 / sent as f64 / 1000.0
        );
        client.kill().unwrap();
        client.wait().unwrap();
    }
    trigger.fire();
    running.await.unwrap().unwrap();
    rlp.kill().unwrap();
    rlp.wait().unwrap();
}

fn json(batch: &Batch) {
    let mut out = Vec::new();
    let begun = Instant::now();
    const ROUNDS: u32 = 2_000;
    for _ in 0..ROUNDS {
        out.clear();
        weir_envelope::json::write_batch(batch.iter().map(|envelope| envelope.view()), &mut out);
        black_box(&out);
    }
    println!(
        "as JSON                    {} bytes, {:?}",
        out.len() / 100,
        begun.elapsed() / (ROUNDS * 100)
    );
}

/// Starts this program in another role. Returns the child and the first line that it prints.
fn child(arguments: &[&str]) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim().to_owned())
}

struct Service {
    message: Bytes,
}

#[tonic::async_trait]
impl RawService for Service {
    const NAME: &'static str = "loggregator.v2.Egress";

    async fn call(&self, _: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        use prost::Message as _;
        let message = request.into_inner().message().await?.unwrap();
        let request = weir_proto::loggregator_v2::EgressBatchRequest::decode(message).unwrap();
        let of_logs = matches!(
            request.selectors[0].message,
            Some(weir_proto::loggregator_v2::selector::Message::Log(_))
        );
        let message = self.message.clone();
        Ok(Response::new(if of_logs {
            futures::stream::repeat_with(move || Ok(Frame::from(message.clone()))).boxed()
        } else {
            futures::stream::pending().boxed()
        }))
    }
}

async fn rlp(dir: &Path) {
    let identity = Authority::open_or_create(dir)
        .unwrap()
        .issue("rlp", &["reverselogproxy"])
        .unwrap();
    let (_trigger, context) = LogContext::in_memory("rlp");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let service = Service { message: messages() };
    GrpcServer::new(ServerTls::mutual(&identity).unwrap())
        .add(RawServer::new(Arc::new(service), 1 << 20))
        .serve(listener, context.shutdown.clone(), &context.tasks)
        .await
        .unwrap();
}

async fn client(dir: &Path, address: SocketAddr, streams: usize, query: &str) {
    let ca: PathBuf = Authority::open_or_create(dir).unwrap().ca_file();
    let tls = ClientTls::trusting(&ca).unwrap().with_alpn(&[b"http/1.1"]);
    let mut readers = Vec::new();
    for _ in 0..streams {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "localhost".to_owned().try_into().unwrap();
        let mut stream = tls.connector().connect(name, stream).await.unwrap();
        let request = format!("GET /v2/read?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        readers.push(tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
        }));
    }
    println!("open");
    futures::future::join_all(readers).await;
}

fn cpu_nanos() -> u64 {
    // The sum over all threads, in clock ticks of 10 ms. After the name, utime and stime are the fields 11 and 12.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10_000_000
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
