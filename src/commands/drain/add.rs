//! `weir drain add`: sends the lines of a source to a drain, from now on.

use std::process::ExitCode;
use std::time::Duration;

use weir_agents_binding_cache::statics::{StaticDrain, StaticDrains};
use weir_drain::Binding;
use weir_error::ErrorKind;
use weir_service::clock;

use super::status::{Drain, is_passing};
use super::store::Store;
use super::{look, probe, target};
use crate::client::Stack;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir drain add --source-id web syslog://10.0.0.7:514
  weir drain add --source-id web --hostname org.space.web --ca ca.pem syslog-tls://logs:6514
  weir drain add --source-id web --cert own.pem --key own.key --ca ca.pem syslog-tls://logs:6514
  weir drain add --source-id web 'https-batch://logs/in?drain-data=metrics&disable-metadata=true'
  weir drain add --source-id web - < url    the URL from standard input: it has a password in it

It returns when the syslog agent has applied it: every line of the source from then on is for the
drain. Then it sends one test message and says how that went; a drain that cannot be reached yet is
added all the same, and its lines wait. The same URL may be added with several certificates: each is
a drain of its own.";

/// The time within which the syslog agent must apply a drain.
const DEADLINE: Duration = Duration::from_secs(30);
/// The time between two reads of the status.
const INTERVAL: Duration = Duration::from_millis(50);

/// Add a drain; returns when it is in force
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Whose lines: the source id of an app or a program
    #[arg(long, value_name = "ID")]
    source_id: String,

    /// The HOSTNAME of messages whose envelopes do not say org, space and app
    #[arg(long, value_name = "ORG.SPACE.APP", default_value = "", hide_default_value = true)]
    hostname: String,

    /// Do not send a test message
    #[arg(long)]
    no_probe: bool,

    /// Where to: syslog://HOST:PORT, syslog-tls://HOST:PORT, https://HOST/PATH, https-batch://HOST/PATH; `-` reads it from
    /// standard input
    url: String,

    #[command(flatten)]
    certificates: target::Certificates,
}

pub(super) async fn run(args: Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let url = target::url(&args.url)?;
    let (drain, binding) = target::drain(&url, &args.source_id, &args.hostname, &args.certificates)?;
    let stack = Stack::find(state)?;
    let added = remember(state, &drain, &binding)?;
    let row = match applied(&stack, &binding).await {
        Ok(row) => row,
        Err(Refused::ByCache(text)) => {
            // A drain that was there before this command is the user's to remove.
            if added {
                forget(state, &drain)?;
            }
            return Err(Failure::new(ErrorKind::Forbidden, format!("drain: {text}")).with_hint(
                "the operator has forbidden drains at this address: `blocked_ranges` of the binding cache",
            ));
        }
        Err(Refused::Failed(failure)) => return Err(failure),
    };
    let mut output = Output::stdout();
    let word = if added { "added" } else { "was there already" };
    output.line(&format!(
        "drain {} {word}: {} to {}",
        binding.id,
        args.source_id,
        binding.url.safe()
    ))?;
    if row.state == "over_limit" {
        output.line(
            "  beyond the limit of drains for one source: nothing is sent to it until another one is removed (`weir drain \
             list`)",
        )?;
    }
    if !args.no_probe {
        let report = probe::try_out(&binding, state).await?;
        output.text(report.to_string().as_bytes())?;
        if !report.succeeded() {
            output.line("the drain is added, and its lines wait until it takes them: `weir drain list` shows it")?;
        }
        output.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the drain to the file. Returns `false` if it was there already.
fn remember(state: &StateDir, drain: &StaticDrain, binding: &Binding) -> Result<bool, Failure> {
    let store = Store::take(state)?;
    let mut drains = store.read()?;
    let same = |other: &StaticDrain| other.binding().is_ok_and(|other| other.id == binding.id);
    let known = drains.drains.iter().position(same);
    match known {
        // The id of a binding does not depend on the hostname, so a drain with another hostname replaces the first.
        Some(place) if drains.drains[place] == *drain => return Ok(false),
        Some(place) => drains.drains[place] = drain.clone(),
        None => drains.drains.push(drain.clone()),
    }
    store.write(&drains)?;
    Ok(known.is_none())
}

fn forget(state: &StateDir, drain: &StaticDrain) -> Result<(), Failure> {
    let store = Store::take(state)?;
    let StaticDrains { mut drains } = store.read()?;
    drains.retain(|other| other != drain);
    store.write(&StaticDrains { drains })
}

/// The reason for which a drain is not in force.
enum Refused {
    /// The binding cache refused the drain, for this reason.
    ByCache(String),
    /// The status could not be read, or the agent did not apply the drain in time.
    Failed(Failure),
}

/// Waits until the syslog agent has applied the binding, or the binding cache has refused it.
async fn applied(stack: &Stack, binding: &Binding) -> Result<Drain, Refused> {
    let deadline = clock::instant() + DEADLINE;
    let id = binding.id.to_string();
    loop {
        let found = look(stack).await;
        let late = clock::instant() > deadline;
        let (rows, cache) = match found {
            Ok(found) => found,
            Err(failure) if late || !is_passing(&failure) => return Err(Refused::Failed(failure)),
            Err(_) => {
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
        };
        if let Some(row) = rows.into_iter().find(|row| row.binding == id && row.is_bound()) {
            return Ok(row);
        }
        let refused = cache.refused.into_iter().find(|refused| {
            !refused.used && Some(refused.app.as_str()) == binding.source_id() && refused.url == binding.url.safe()
        });
        if let Some(refused) = refused {
            return Err(Refused::ByCache(refused.text));
        }
        if late {
            let unread = cache.sources.iter().find_map(|source| source.error.as_deref());
            let why = unread.map_or_else(String::new, |why| format!(" ({why})"));
            return Err(Refused::Failed(
                Failure::new(
                    ErrorKind::Timeout,
                    format!("drain {id}: the syslog agent has not applied it within 30 s{why}"),
                )
                .with_hint(
                    "it is kept, and will be applied: `weir drain list` shows it, `weir doctor` looks what is wrong",
                ),
            ));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(hostname: &str) -> StaticDrain {
        StaticDrain {
            source_id: "web".to_owned(),
            hostname: hostname.to_owned(),
            url: "syslog://h:1".to_owned(),
            cert: String::new(),
            key: String::new(),
            ca: String::new(),
        }
    }

    /// A drain is written once, another hostname replaces the first, and a refused drain is removed.
    #[test]
    fn a_drain_is_remembered_once() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        let add = |drain: &StaticDrain| {
            let binding = drain.binding().expect("valid");
            remember(&state, drain, &binding).expect("written")
        };
        assert!(add(&drain("")) && !add(&drain("")) && !add(&drain("o.s.web")));
        let read = || super::super::store::read(&state).expect("read").drains;
        assert_eq!(read(), [drain("o.s.web")]);
        let other = StaticDrain {
            source_id: "api".to_owned(),
            ..drain("")
        };
        assert!(add(&other));
        forget(&state, &other).expect("written");
        assert_eq!(read(), [drain("o.s.web")]);
    }
}
