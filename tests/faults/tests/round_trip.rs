//! Real log lines go in by `weir emit`, and come out of the firehose, `weir recent` and `weir sql` in order, byte for
//! byte.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use weir_faults::assert_no_panics;
use weir_testkit::{Firehose, Mode, Received, Skip, Stack, eventually};

const PROBE: &str = "probe";
/// The longest payload of one envelope in bytes. Longer lines are sent in pieces.
const MAX_LINE: usize = 61_440;

/// Returns lines with all bytes that are difficult to carry.
fn sample() -> Vec<u8> {
    let mut text = Vec::new();
    text.extend_from_slice(b"plain\nwindows\r\n\n  leading and trailing  \n\ttabs\tinside\t\n");
    text.extend_from_slice("ümläute, ☃ and 🦀\n".as_bytes());
    text.extend_from_slice(b"not UTF-8: \xff\xfe\xc3\nnul \x00 inside\nquotes ' \" \\ ` $(x) {\"json\": [1]}\n");
    text.extend_from_slice(b"\x1b[31mcolours\x1b[0m\r\r\n");
    text.extend_from_slice(&[b"x".repeat(MAX_LINE - 1), b"\n".to_vec()].concat());
    text.extend_from_slice(b"last line without an end");
    text
}

/// Splits a file into lines at `\n`, as `weir emit` does.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

fn run(mut command: Command, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    drop(writer.join());
    ensure!(
        output.status.success(),
        "{shown}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Compares line by line, so that a failure shows the first different line.
fn assert_same(who: &str, got: &[Vec<u8>], want: &[Vec<u8>]) {
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            got == want,
            "{who}, line {index}:\n got {:.300?}\nwant {:.300?}",
            String::from_utf8_lossy(got),
            String::from_utf8_lossy(want)
        );
    }
    assert_eq!(got.len(), want.len(), "{who}: number of lines");
}

/// Sends `text` as `source`, and compares what comes out of every interface.
async fn round_trip(stack: &Stack, source: &str, text: &[u8]) -> anyhow::Result<()> {
    let want = lines(text);
    let received = Received::keeping_lines_of(source);
    let firehose = Firehose::open_recording(
        stack.endpoints(),
        &format!("/firehose/{source}"),
        &stack.token()?,
        received.clone(),
    )
    .await?;
    firehose.wait_until_subscribed(&stack.emitter().await?, PROBE).await?;

    let mut emit = stack.command()?;
    emit.args(["emit", "--source-id", source]);
    run(emit, text)?;

    // `weir emit` ends when the log cache has everything, so it can be queried at once.
    let mut sql = stack.command()?;
    let query = format!("select body, body_bytes from logs where source_id = '{source}' order by seq");
    sql.args(["sql", "--format", "ndjson", &query]);
    assert_same("sql", &sql_bodies(&run(sql, b"")?)?, &want);

    let mut recent = stack.command()?;
    recent.args(["recent", source, "-n", "1000000", "--body"]);
    assert_same("recent", &lines(&run(recent, b"")?), &want);

    eventually("all lines at the firehose", async || {
        let got = received.lines().len();
        ensure!(got >= want.len(), "{got} of {}", want.len());
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    assert_same("firehose", &received.lines(), &want);
    Ok(())
}

/// Returns the bodies in the answer of `weir sql --format ndjson`: text, or bytes where the body is not UTF-8.
fn sql_bodies(answer: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    answer
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let row: Value = serde_json::from_slice(line)?;
            match (row.get("body"), row.get("body_bytes")) {
                (_, Some(Value::String(hex))) => from_hex(hex),
                (Some(Value::String(text)), _) => Ok(text.clone().into_bytes()),
                _ => anyhow::bail!("{row}"),
            }
        })
        .collect()
}

fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits = text.as_bytes();
    digits
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

/// Setup: lines with carriage returns, NULs, bytes that are not UTF-8, empty lines, and one of the largest size. Must
/// hold: all come out unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn difficult_lines_come_back_byte_for_byte() -> anyhow::Result<()> {
    for mode in [Mode::Embedded, Mode::Processes] {
        let stack = Stack::start(mode).await?;
        round_trip(&stack, "sample", &sample()).await?;
        assert_no_panics(&stack);
    }
    Ok(())
}

/// Setup: lines longer than an envelope may be. Must hold: they arrive in pieces that together are the line.
#[tokio::test(flavor = "multi_thread")]
async fn long_lines_travel_in_pieces() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let text = [
        b"short\n".to_vec(),
        "ä☃".repeat(50_000).into_bytes(),
        b"\nshort\n".to_vec(),
    ]
    .concat();
    let mut emit = stack.command()?;
    emit.args(["emit", "--source-id", "long"]);
    run(emit, &text)?;
    let mut recent = stack.command()?;
    recent.args(["recent", "long", "-n", "1000", "--body"]);
    let pieces = lines(&run(recent, b"")?);
    assert!(
        pieces.len() > 3 && pieces.iter().all(|piece| piece.len() <= MAX_LINE),
        "{} pieces",
        pieces.len()
    );
    assert!(
        pieces.iter().all(|piece| std::str::from_utf8(piece).is_ok()),
        "cut between characters"
    );
    assert_eq!(
        pieces.concat(),
        text.iter().copied().filter(|byte| *byte != b'\n').collect::<Vec<u8>>()
    );
    Ok(())
}

/// Setup: the Loghub samples (`WEIR_LOGHUB`, or `../shared/data/loghub` beside the workspace), each file a source. Must
/// hold: all lines come out unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn loghub_comes_back_byte_for_byte() -> anyhow::Result<()> {
    let Some(folder) = loghub() else {
        Skip("no Loghub samples: set WEIR_LOGHUB to a folder with *.log files".to_owned()).report();
        return Ok(());
    };
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "`{}` has no *.log files", folder.display());
    let stack = Stack::start(Mode::Embedded).await?;
    let mut all = Vec::new();
    for file in &files {
        let text = fs::read(file)?;
        let name = file.file_stem().and_then(|stem| stem.to_str()).context("a name")?;
        round_trip(&stack, name, &text).await.with_context(|| name.to_owned())?;
        all.extend(text);
    }
    // All files as one source, as from `cat *.log | weir emit`.
    round_trip(&stack, "loghub", &all).await?;
    let query = "select count(*) as n from logs where source_id = 'loghub'";
    assert_eq!(stack.log_cache()?.number(query).await?, lines(&all).len() as u64);
    assert_no_panics(&stack);
    Ok(())
}

fn loghub() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(3)?
        .join("shared/data/loghub");
    let folder = std::env::var_os("WEIR_LOGHUB").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}
