//! `weir drain remove`: removes a drain that `weir drain add` added.

use std::process::ExitCode;
use std::time::Duration;

use weir_agents_binding_cache::statics::{StaticDrain, StaticDrains};
use weir_drain::{BindingId, DrainUrl};
use weir_error::ErrorKind;
use weir_service::clock;

use super::store::Store;
use super::{status, target};
use crate::client::Stack;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir drain remove syslog://10.0.0.7:514
  weir drain remove --source-id web syslog://10.0.0.7:514
                                            where several sources drain there
  weir drain remove 3f2a91                  by the ID that `weir drain list` shows, or its beginning

A URL may be given without its user info and query. Lines that wait for the drain get a last chance;
what cannot leave within a minute is counted as lost.";

/// The time within which the syslog agent must stop serving a drain.
const DEADLINE: Duration = Duration::from_secs(30);
/// The time between two reads of the status.
const INTERVAL: Duration = Duration::from_millis(50);
/// The fewest digits of an id that name a drain. Fewer could match by accident.
const LEAST_DIGITS: usize = 4;

/// Remove a drain that was added by hand; returns when it is out of force
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only the drain of this source
    #[arg(long, value_name = "ID")]
    source_id: Option<String>,

    /// Which one: its ID, or its URL; `-` reads it from standard input
    #[arg(value_name = "ID-OR-URL")]
    which: String,
}

pub(super) async fn run(args: Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let which = target::url(&args.which)?;
    let stack = Stack::find(state)?;
    let id = {
        // Locked only here: other commands must not wait for the agent as well.
        let store = Store::take(state)?;
        let StaticDrains { mut drains } = store.read()?;
        let place = find(&drains, &which, args.source_id.as_deref())?;
        let removed = drains.remove(place);
        store.write(&StaticDrains { drains })?;
        removed.binding().ok().map(|binding| (binding.id, removed))
    };
    // A drain that is not usable was never applied, so there is nothing to wait for.
    let Some((id, removed)) = id else {
        Output::stdout().line("drain removed: it was not usable")?;
        return Ok(ExitCode::SUCCESS);
    };
    gone(&stack, id).await?;
    let url = DrainUrl::parse(&removed.url);
    let safe = url.as_ref().map_or("", DrainUrl::safe);
    Output::stdout().line(&format!("drain {id} removed: {} to {safe}", removed.source_id))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the index of the drain that `which` and `source_id` name. There must be exactly one.
fn find(drains: &[StaticDrain], which: &str, source_id: Option<&str>) -> Result<usize, Failure> {
    let found: Vec<usize> = drains
        .iter()
        .enumerate()
        .filter(|(_, drain)| source_id.is_none_or(|wanted| wanted == drain.source_id) && is_meant(drain, which))
        .map(|(place, _)| place)
        .collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(
            Failure::new(ErrorKind::NotFound, "drain: none that was added by hand is called so").with_hint(
                "`weir drain list` shows all; those of the cloud controller are removed there (`cf unbind-service`)",
            ),
        ),
        several => {
            let listed: Vec<String> = several.iter().map(|place| described(&drains[*place])).collect();
            Err(Failure::new(
                ErrorKind::Conflict,
                format!("drain: {} are called so: {}", several.len(), listed.join(", ")),
            )
            .with_hint("name one by its ID, or by --source-id"))
        }
    }
}

fn is_meant(drain: &StaticDrain, which: &str) -> bool {
    let binding = drain.binding().ok();
    let safe = binding.as_ref().is_some_and(|binding| binding.url.safe() == which);
    let id = binding.map(|binding| binding.id.to_string()).unwrap_or_default();
    drain.url == which || safe || (which.len() >= LEAST_DIGITS && id.starts_with(which))
}

fn described(drain: &StaticDrain) -> String {
    match drain.binding() {
        Ok(binding) => format!("{} of `{}`", binding.id, drain.source_id),
        Err(_) => format!("one of `{}`", drain.source_id),
    }
}

/// Waits until the syslog agent does not serve the drain any more.
async fn gone(stack: &Stack, id: BindingId) -> Result<(), Failure> {
    let deadline = clock::instant() + DEADLINE;
    let id = id.to_string();
    loop {
        let late = clock::instant() > deadline;
        match status::drains(stack).await {
            Ok(rows) if !rows.iter().any(|row| row.binding == id && row.is_bound()) => return Ok(()),
            Err(failure) if late || !status::is_passing(&failure) => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        if late {
            return Err(Failure::new(
                ErrorKind::Timeout,
                format!("drain {id}: the syslog agent still serves it after 30 s"),
            )
            .with_hint("perhaps the cloud controller has it too; `weir doctor` looks what is wrong"));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(source_id: &str, url: &str) -> StaticDrain {
        StaticDrain {
            source_id: source_id.to_owned(),
            hostname: String::new(),
            url: url.to_owned(),
            cert: String::new(),
            key: String::new(),
            ca: String::new(),
        }
    }

    /// A drain is found by its id, a prefix of it, its URL, or the safe form of its URL. Several matches are an error.
    #[test]
    fn the_one_that_is_meant_is_found() {
        let drains = [
            drain("web", "syslog://h:1"),
            drain("api", "syslog://h:1"),
            drain("api", "https://u:hunter2@h/x?token"),
        ];
        let id = drains[2].binding().expect("valid").id.to_string();
        for which in [&id, &id[..8], "https://u:hunter2@h/x?token", "https://h/x"] {
            assert_eq!(find(&drains, which, None).expect(which), 2);
        }
        assert_eq!(find(&drains, "syslog://h:1", Some("api")).expect("one"), 1);
        let several = find(&drains, "syslog://h:1", None).expect_err("two");
        assert_eq!(several.kind(), ErrorKind::Conflict);
        assert!(
            several.to_string().contains("of `web`") && several.to_string().contains("--source-id"),
            "{several}"
        );
        for which in ["https://h/y", &id[..3], "", "https://h/x?hunter2"] {
            let failure = find(&drains, which, None).expect_err(which);
            assert_eq!(failure.kind(), ErrorKind::NotFound);
            assert!(!failure.to_string().contains("hunter2"), "{failure}");
        }
    }
}
