//! `weir drain probe`: sends one test message to a drain, and reports each step.

use std::process::ExitCode;

use weir_component::Component as _;
use weir_config::{Loader, environment};
use weir_drain::{Binding, ProbeReport, Settings};
use weir_error::ErrorKind;
use weir_service::{Health, Shutdown, Tasks};
use weir_tls::{CipherSuites, Trust};

use super::{status, target};
use crate::client::Stack;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir drain probe syslog://10.0.0.7:514
  weir drain probe --ca ca.pem syslog-tls://logs.example:6514
  weir drain probe --json 'https-batch://logs.example/in' | jq .steps

It goes the way that lines go: the address of the name, TCP, TLS with the certificates of the drain,
one message; with the settings of this stack's syslog agent, which need not run. Drains of the stack
that are at the same host and port and wait for it are tried again at once. Exit code 0: the drain
took the message; 9: it did not.";

/// Send one test message to a drain and explain the result
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// As whose message
    #[arg(long, value_name = "ID", default_value = "weir")]
    source_id: String,

    /// As JSON
    #[arg(long)]
    json: bool,

    /// Where to; `-` reads it from standard input
    url: String,

    #[command(flatten)]
    certificates: target::Certificates,
}

pub(super) async fn run(args: Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let url = target::url(&args.url)?;
    let (_, binding) = target::drain(&url, &args.source_id, "", &args.certificates)?;
    let report = try_out(&binding, state).await?;
    if report.succeeded() {
        // Drains of the stack that wait for this host would otherwise be tried after their delay. Without a running stack there are
        // none.
        if let Ok(stack) = Stack::find(state)
            && let Err(failure) = status::reached(&stack, &binding.url.host_and_port()).await
        {
            tracing::debug!(error = %failure, "the syslog agent cannot be told that the drain can be reached");
        }
    }
    let mut output = Output::stdout();
    if args.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("report: {error}")))?;
        output.text(format!("{text}\n").as_bytes())?;
        output.flush()?;
    } else {
        output.text(report.to_string().as_bytes())?;
        output.flush()?;
    }
    Ok(if report.succeeded() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(ErrorKind::Unavailable.exit_code())
    })
}

/// Sends the test message.
pub(super) async fn try_out(binding: &Binding, state: &StateDir) -> Result<ProbeReport, Failure> {
    let settings = settings(state)?;
    let (trigger, _) = Shutdown::new();
    let tasks = Tasks::new(trigger, Health::new());
    Ok(weir_drain::probe(binding, &settings, &tasks).await)
}

/// Returns the settings of this stack's syslog agent, or the defaults.
fn settings(state: &StateDir) -> Result<Settings, Failure> {
    let component = weir_agents_syslog::Server::DESCRIPTION.name;
    let mut loader = Loader::new(component).env(environment());
    let file = state.config_of(component);
    if file.exists() {
        loader = loader.file(&file);
    }
    let raw: weir_agents_syslog::RawConfig = loader.raw()?;
    let drains = raw.drains;
    let suites = drains.cipher_suites.filter(|list| !list.is_empty());
    let suites = suites
        .map(|list| CipherSuites::parse(&list))
        .transpose()
        .map_err(|error| {
            Failure::new(
                ErrorKind::InvalidInput,
                format!("`drains.cipher_suites` of {component}: {error}"),
            )
        })?;
    let trusted = drains.trusted_ca.filter(|path| !path.as_os_str().is_empty());
    Ok(Settings {
        dial_timeout: drains.dial_timeout.get(),
        write_timeout: drains.write_timeout.get(),
        http_timeout: drains.http_timeout.get(),
        addresses: drains.blocked_addresses,
        cipher_suites: suites,
        skip_verify: drains.skip_cert_verify,
        ..Settings::new(Trust::system(trusted.as_deref())?)
    })
}
