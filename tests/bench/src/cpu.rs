//! What a process used, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The unit of times in `/proc`: part of Linux's interface, the same on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time and memory of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time of all its threads, also of those that ended.
    pub(crate) cpu: Duration,
    /// Resident now, bytes.
    pub(crate) resident: u64,
    /// Most that was ever resident, bytes.
    pub(crate) peak: u64,
}

/// What several processes used, by name.
pub(crate) type Usages = BTreeMap<String, Usage>;

/// Reads the usage of process `pid`.
///
/// The times of `stat` come in ticks of 10 ms; the kernel scales them to the exact run time, so that over seconds they are
/// exact to a tick.
pub(crate) fn usage(pid: u32) -> anyhow::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The name in parentheses may hold anything.
    let (_, after_name) = stat.rsplit_once(')').context("the format of stat")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<u64> { Ok(fields.get(index).context("a short stat")?.parse()?) };
    let ticks = ticks(11)? + ticks(12)?;
    let cpu = Duration::from_micros(ticks * 1_000_000 / TICKS_PER_SECOND);

    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes_of = |key: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        let kib = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    };
    Ok(Usage {
        cpu,
        resident: bytes_of("VmRSS:"),
        peak: bytes_of("VmHWM:"),
    })
}

/// What was used between two readings: CPU time of the difference, memory of the later one.
pub(crate) fn between(before: &Usages, after: &Usages) -> Usages {
    after
        .iter()
        .map(|(name, now)| {
            let then = before.get(name).copied().unwrap_or_default();
            let cpu = now.cpu.saturating_sub(then.cpu);
            (name.clone(), Usage { cpu, ..*now })
        })
        .collect()
}
