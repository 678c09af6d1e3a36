use tempfile::TempDir;
use weir_config::{ByteSize, Duration, Problems};
use weir_service::Context;

use super::*;
use crate::Config;

/// The file of the job `nats-tls`, as its template writes it for one instance.
const DEPLOYED: &str = r#"
net: "10.0.16.5"
port: 4224
prof_port: 0
http: "0.0.0.0:8222"
write_deadline: "2s"

debug: false
trace: false
logtime: true

authorization: {
  user: "nats",
  password: "se\"cret#1",
  timeout: 15,
}

tls: {
  ca_file: "/var/vcap/jobs/nats-tls/config/external_tls/ca.pem",
  cert_file: "/var/vcap/jobs/nats-tls/config/external_tls/certificate.pem",
  key_file: "/var/vcap/jobs/nats-tls/config/external_tls/private_key.pem",
  cipher_suites: [
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
  ],
  curve_preferences: [
    "CurveP384"
  ],
  timeout: 5, # seconds
  verify: true
}

cluster: {
  no_advertise: true,
  host: "10.0.16.5",
  port: 4225,
  pool_size: -1,
  authorization: { user: "nats", password: "secret", timeout: 15, },
  routes: [
    nats-route://nats:secret@uuid.nats.service.cf.internal:4225,
  ]
}

no_sys_acc: true
"#;

fn read(words: &[&str]) -> Result<Job, JobError> {
    Job::read(words)
}

/// Reads a file, and flags behind it.
fn read_file(text: &str, words: &[&str]) -> Result<Job, JobError> {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("nats.conf");
    fs::write(&path, text).expect("written");
    let path = path.to_str().expect("text");
    Job::read([&["-c", path], words].concat())
}

fn identity(job: &Job) -> [&str; 3] {
    let IdentityFiles { ca, cert, key } = job.config.identity.as_ref().expect("an identity");
    [ca, cert, key].map(|path| path.to_str().expect("text"))
}

/// The file of a deployment is understood, and what has no effect is told.
#[test]
fn reads_the_file_of_a_deployment() {
    let job = read_file(DEPLOYED, &[]).expect("understood");
    assert_eq!(job.config.listen.to_string(), "10.0.16.5:4224");
    assert_eq!(job.config.user.as_deref(), Some("nats"));
    assert_eq!(
        job.config.password.as_ref().map(|password| password.expose().as_str()),
        Some("se\"cret#1")
    );
    assert_eq!(job.config.auth_timeout, Duration::from_secs(15));
    assert_eq!(job.config.write_deadline, Duration::from_secs(2));
    assert!(job.config.client_certificates);
    let folder = "/var/vcap/jobs/nats-tls/config/external_tls";
    assert_eq!(
        identity(&job),
        ["ca.pem", "certificate.pem", "private_key.pem"].map(|name| format!("{folder}/{name}"))
    );
    let passed_over: Vec<_> = job.passed_over.iter().map(|(key, _)| key.as_str()).collect();
    for key in [
        "prof_port",
        "http",
        "tls.cipher_suites",
        "cluster.routes",
        "cluster.pool_size",
        "no_sys_acc",
    ] {
        assert!(passed_over.contains(&key), "{key}");
    }
    assert!(Config::try_from(job.config).is_ok());
}

/// Flags are read as Go reads them, and win over the file.
#[test]
fn flags_win_over_the_file() {
    let job = read(&["-p", "4333"]).expect("understood");
    assert_eq!(job.config.listen.to_string(), "0.0.0.0:4333");
    assert!(job.config.identity.is_none() && job.config.user.is_none());
    let job = read(&[
        "--addr=127.0.0.1",
        "-port=-1",
        "-DV",
        "--user",
        "a",
        "--pass",
        "b",
        "-T=false",
    ])
    .expect("understood");
    assert_eq!(job.config.listen.to_string(), "127.0.0.1:0");
    assert_eq!(job.passed_over, [("-DV".to_owned(), ELSEWHERE)]);
    let tls = ["--tls", "--tlscert", "c", "--tlskey", "k"];
    let job = read(&tls).expect("understood");
    assert_eq!(identity(&job), ["", "c", "k"]);
    assert!(!job.config.client_certificates);
    let job = read(&[&tls[..], &["--tlsverify", "--tlscacert", "a"]].concat()).expect("understood");
    assert!(job.config.client_certificates);
    let job = read_file(DEPLOYED, &["-p", "1", "--user", "other"]).expect("understood");
    assert_eq!(
        (job.config.listen.to_string(), job.config.user.as_deref()),
        ("10.0.16.5:1".to_owned(), Some("other"))
    );
}

/// Every limit of the original that there is here is mapped, with the original's units.
#[test]
fn limits_are_mapped() {
    let text = "listen = localhost:4222; max_payload 64KB # a comment\nmax_control_line: 2k, max_pending: 512mb\n\
                max_connections: 7\nmax_subscriptions = 8\nping_interval: 30\nping_max: 3\nlame_duck_duration: '5s' // another";
    let config = read_file(text, &[]).expect("understood").config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:4222");
    assert_eq!(
        (config.max_payload, config.max_control_line),
        (ByteSize::kib(64), ByteSize::new(2000))
    );
    assert_eq!(
        (config.max_pending, config.max_pending_total),
        (ByteSize::mib(512), ByteSize::mib(512))
    );
    assert_eq!((config.port.connections, config.max_subscriptions), (7, 8));
    assert_eq!(
        (config.ping_interval, config.max_pings_out),
        (Duration::from_secs(30), 3)
    );
    assert_eq!(config.lame_duck, Duration::from_secs(5));
    let problems: Result<(), Problems> = Config::try_from(config).map(drop);
    assert!(problems.is_ok(), "{problems:?}");
}

/// What would change who gets which message is refused, and so is what nobody understands; each says what is wrong.
#[test]
fn refuses_with_a_reason() {
    for (text, words, reason) in [
        ("", &["-x"][..], "flag provided but not defined: -x"),
        ("", &["start"], "flag provided but not defined: -start"),
        ("", &["-p"], "flag needs an argument: -p"),
        ("", &["-p", "70000"], "`p` is `70000`, and must be a port"),
        ("", &["-js"], "`js` is not served: messages are not stored"),
        (
            "",
            &["--auth", "token"],
            "`auth` is not served: clients are known by a user and a password, or a certificate",
        ),
        (
            "",
            &["-a", "nats.example"],
            "`addr` is `nats.example`, and must be an address of this machine",
        ),
        (
            "",
            &["--tlscert", "c"],
            "`tls` is `c`, and must be a certificate, its key, and a CA where clients are verified",
        ),
        ("prot: 1", &[], "unknown field `prot`"),
        (
            "jetstream {}",
            &[],
            "`jetstream` is not served: messages are not stored",
        ),
        (
            "authorization { users: [] }",
            &[],
            "`authorization.users` is not served: there is one user with a password",
        ),
        (
            "max_payload: much",
            &[],
            "`max_payload` is `much`, and must be a size such as `1mb`",
        ),
        (
            "write_deadline: soon",
            &[],
            "`write_deadline` is `soon`, and must be a duration such as `2s`",
        ),
        ("tls: true", &[], "`tls` is `no table`, and must be a table"),
        ("port: [1]", &[], "`port` is `a list or a table`, and must be one value"),
        (
            "port: 1\nnet: \"a",
            &[],
            "configuration file, line 2: a quotation mark is not closed",
        ),
        ("tls {", &[], "configuration file, line 1: a bracket is not closed"),
        (
            "}",
            &[],
            "configuration file, line 1: a bracket is closed that was not opened",
        ),
        (
            "port: $PORT",
            &[],
            "configuration file, line 1: variables are not known here: write the value itself",
        ),
        (
            "cluster { routes [nats://a, nats://b] }",
            &[],
            "`cluster.routes` is not served: there is one node only, and clients of the others would not be reached",
        ),
    ] {
        assert_eq!(read_file(text, words).expect_err(reason).to_string(), reason);
    }
    let deep = "[".repeat(100_000);
    assert!(read_file(&format!("a: {deep}"), &[]).is_err());
    assert!(matches!(read(&["-c", "/nowhere"]), Err(JobError::Unreadable { .. })));
}

/// The program says that it is ready in the original's words, and ends with 0 when it is stopped, with 1 when it cannot start.
#[tokio::test]
async fn runs_as_the_original() {
    let (trigger, context) = Context::new("nats");
    let mut out = Vec::new();
    trigger.fire();
    let words: Vec<String> = ["-a", "127.0.0.1", "-p", "-1"].map(str::to_owned).into();
    assert_eq!(run(&words, context, &mut out).await, 0);
    let said = String::from_utf8(out).expect("text");
    let lines: Vec<_> = said
        .lines()
        .filter_map(|line| line.split_once(" [INF] "))
        .map(|(_, text)| text)
        .collect();
    let [starting, listening, ready, exiting] = lines[..] else {
        panic!("{said}")
    };
    assert_eq!(
        (starting, ready, exiting),
        ("Starting nats-server", "Server is ready", "Server Exiting..")
    );
    assert!(listening.starts_with("Listening for client connections on 127.0.0.1:"));
    let (_trigger, context) = Context::new("nats");
    let mut out = Vec::new();
    assert_eq!(run(&["-x".to_owned()], context, &mut out).await, 1);
    assert!(
        String::from_utf8(out)
            .expect("text")
            .ends_with("[FTL] flag provided but not defined: -x\n")
    );
}
