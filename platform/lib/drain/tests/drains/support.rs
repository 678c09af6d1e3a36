//! Bindings, shipments, certificates and servers for the tests of this crate.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, SupportedProtocolVersion};
use weir_drain::{App, Binding, Credentials, DrainUrl, Failure, Outcome, Outcomes, Sender, Settings, Shipment};
use weir_service::{Context, Tasks};
use weir_tls::Trust;

/// The deadline of every condition.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A text that every secret of every test contains.
pub(crate) const SECRET: &str = "hunter2";

pub(crate) fn tasks() -> Tasks {
    Context::new("test").1.tasks
}

/// Settings with an empty trust store and short time-outs.
pub(crate) fn settings() -> Settings {
    Settings {
        dial_timeout: Duration::from_secs(3),
        write_timeout: Duration::from_secs(1),
        http_timeout: Duration::from_secs(2),
        ..Settings::new(Trust::none().unwrap())
    }
}

pub(crate) fn binding(url: &str) -> Binding {
    with(url, Credentials::default())
}

pub(crate) fn with(url: &str, credentials: Credentials) -> Binding {
    let app = App {
        hostname: "org.space.app".to_owned(),
        app_id: "guid".to_owned(),
    };
    Binding::new(DrainUrl::parse(url).unwrap(), Some(app), credentials)
}

pub(crate) fn trusting(ca: &str) -> Credentials {
    Credentials {
        ca: Some(ca.to_owned()),
        ..Credentials::default()
    }
}

/// Returns shipment `sequence` of `count` messages `<sequence>-<index> padding\n`, which are not octet-counted.
pub(crate) fn shipment(sequence: u64, count: usize, padding: usize) -> Shipment {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for index in 0..count {
        bytes.extend_from_slice(format!("{sequence}-{index} {}\n", "x".repeat(padding)).as_bytes());
        ends.push(u32::try_from(bytes.len()).unwrap());
    }
    Shipment {
        sequence,
        bytes: bytes.into(),
        ends: ends.into(),
        arrived: 1_700_000_000_000_000_000,
    }
}

/// Returns the numbers of the messages that a receiver got, and how many came more than once.
pub(crate) fn numbers(received: &[u8]) -> (BTreeSet<String>, usize) {
    let text = String::from_utf8_lossy(received);
    let (mut found, mut twice) = (BTreeSet::new(), 0);
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        if let Some(number) = line.split(' ').next() {
            twice += usize::from(!found.insert(number.to_owned()));
        }
    }
    (found, twice)
}

pub(crate) async fn next(outcomes: &mut Outcomes) -> Outcome {
    let outcome = timeout(LONG, outcomes.next()).await.expect("an outcome");
    match &outcome {
        Outcome::Broken(failure) => harmless(failure),
        Outcome::Rejected { refused, .. } => refused.iter().for_each(|refused| harmless(&refused.failure)),
        Outcome::Written(_) | Outcome::Settled(_) => {}
    }
    outcome
}

/// Reads outcomes until the connection ends; returns the settled shipments and the reason for the end.
pub(crate) async fn until_broken(outcomes: &mut Outcomes) -> (Vec<u64>, Failure) {
    let mut settled = Vec::new();
    loop {
        match next(outcomes).await {
            Outcome::Settled(sequence) => settled.push(sequence),
            Outcome::Broken(failure) => return (settled, failure),
            Outcome::Written(_) | Outcome::Rejected { .. } => {}
        }
    }
}

/// Sends shipments in the background, so that the test can read the outcomes.
pub(crate) fn send_all(mut sender: Sender, shipments: Vec<Shipment>) -> tokio::task::JoinHandle<Sender> {
    tokio::spawn(async move {
        for shipment in shipments {
            if sender.send(shipment).await.is_err() {
                break;
            }
        }
        sender
    })
}

/// Asserts that no form of a failure shows a secret.
pub(crate) fn harmless(failure: &Failure) {
    use weir_error::Classify as _;
    let shown = format!("{failure} {failure:?} {:?}", failure.hint());
    assert!(!shown.contains(SECRET) && !shown.contains("BEGIN"), "{shown}");
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(LONG, listener.accept()).await.expect("a connection").unwrap().0
}

/// A root CA, or an intermediate CA that another one signed.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The intermediate certificates that a server of this CA sends.
    chain: String,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// The period in which a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    Now,
    Past,
    Future,
}

fn params(name: &str, names: &[&str], time: Time) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let (from, until) = match time {
        Time::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2200, 1, 1)),
        Time::Past => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3)),
        Time::Future => (date_time_ymd(2190, 4, 5), date_time_ymd(2200, 1, 1)),
    };
    (params.not_before, params.not_after) = (from, until);
    params
}

fn ca_params(name: &str, time: Time) -> CertificateParams {
    let mut params = params(name, &[], time);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Ca {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_of(name, Time::Now)
    }

    pub(crate) fn root_of(name: &str, time: Time) -> Self {
        let issuer = CertifiedIssuer::self_signed(ca_params(name, time), KeyPair::generate().unwrap()).unwrap();
        Self {
            issuer,
            chain: String::new(),
        }
    }

    pub(crate) fn intermediate(&self, name: &str, time: Time) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(ca_params(name, time), key, &self.issuer).unwrap();
        let chain = issuer.pem();
        Self { issuer, chain }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate for the given names, followed by the intermediate certificates.
    pub(crate) fn issue(&self, name: &str, names: &[&str], time: Time) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = params(name, names, time).signed_by(&key, &self.issuer).unwrap();
        Identity {
            cert: format!("{}{}", cert.pem(), self.chain),
            key: key.serialize_pem(),
        }
    }
}

/// Returns a self-signed certificate.
pub(crate) fn self_signed(name: &str, names: &[&str], is_ca: bool) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = params(name, names, Time::Now);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let cert = params.self_signed(&key).unwrap();
    Identity {
        cert: cert.pem(),
        key: key.serialize_pem(),
    }
}

/// The TLS configuration of a server.
#[derive(Default)]
pub(crate) struct Server<'a> {
    /// The CA that must have signed the client's certificate.
    pub(crate) clients: Option<&'a Ca>,
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) versions: Option<&'static [&'static SupportedProtocolVersion]>,
}

impl Server<'_> {
    pub(crate) fn acceptor(self, identity: &Identity) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions.unwrap_or(rustls::ALL_VERSIONS))
            .unwrap();
        let builder = match self.clients {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap())
                    .unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let chain = CertificateDer::pem_slice_iter(identity.cert.as_bytes())
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = self.alpn;
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Writes a file in a directory that exists as long as the test.
pub(crate) fn file(dir: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}
