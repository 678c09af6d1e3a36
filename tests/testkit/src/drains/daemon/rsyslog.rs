//! Configures rsyslog, and reads what it parsed: the fields as a JSON object, then a tab, then the structured data as
//! its own parser `mmpstrucdata` sees it.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{Installed, Parsed, Setting, Text};
use crate::Skip;

/// The longest parameter name for `mmpstrucdata`, in bytes. RFC 5424, section 6.3.3, allows no longer ones either.
const LONGEST_NAME: usize = 32;

/// Returns the command of the program, or a [`Skip`] if a module is missing that the configuration needs.
pub(super) fn command(installed: &Installed, setting: &Setting<'_>) -> anyhow::Result<Result<Command, Skip>> {
    let lacks = |what: &str| {
        Skip(format!(
            "rsyslogd is installed without {what}, or let `tests/clients/receivers` unpack another one"
        ))
    };
    let Some(modules) = installed.folder("rsyslog") else {
        return Ok(Err(lacks("its modules: install the package rsyslog")));
    };
    let has = |module: &str| modules.join(module).is_file();
    let Some(driver) = ["ossl", "gtls"]
        .into_iter()
        .find(|driver| has(&format!("lmnsd_{driver}.so")))
    else {
        return Ok(Err(lacks("TLS: install rsyslog-openssl or rsyslog-gnutls")));
    };
    if let Some(module) = ["imtcp.so", "mmpstrucdata.so"].into_iter().find(|module| !has(module)) {
        return Ok(Err(lacks(&format!(
            "its module {module}: install the package that has it"
        ))));
    }
    let dir = setting.dir.display();
    let (tcp, tls) = (setting.tcp.port(), setting.tls.port());
    let text = format!(
        r#"global(
  workDirectory="{dir}"
  maxMessageSize="1m"
  preserveFQDN="on"
  net.enableDNS="off"
  parser.escapeControlCharactersOnReceive="off"
  parser.escape8BitCharactersOnReceive="off"
  parser.dropTrailingLFOnReception="off"
  processInternalMessages="off"
  defaultNetstreamDriver="{driver}"
  defaultNetstreamDriverCAFile="{dir}/ca.crt"
  defaultNetstreamDriverCertFile="{dir}/server.crt"
  defaultNetstreamDriverKeyFile="{dir}/server.key"
)
module(load="imtcp" maxSessions="1000")
module(load="mmpstrucdata")
template(name="parsed" type="list") {{
  constant(value="{{")
  property(name="pri" format="jsonf" outname="pri")
  constant(value=",")
  property(name="timereported" dateFormat="rfc3339" format="jsonf" outname="timestamp")
  constant(value=",")
  property(name="hostname" format="jsonf" outname="hostname")
  constant(value=",")
  property(name="app-name" format="jsonf" outname="app_name")
  constant(value=",")
  property(name="procid" format="jsonf" outname="procid")
  constant(value=",")
  property(name="msgid" format="jsonf" outname="msgid")
  constant(value=",")
  property(name="structured-data" format="jsonf" outname="structured_data")
  constant(value=",")
  property(name="msg" format="jsonf" outname="message")
  constant(value="}}\t")
  property(name="$!rfc5424-sd")
  constant(value="\n")
}}
ruleset(name="write" queue.type="direct") {{
  action(type="mmpstrucdata" sd_name.lowercase="off")
  action(type="omfile" file="{dir}/messages" template="parsed")
}}
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="write" maxFrameSize="1048576"
  streamDriver.name="ptcp" streamDriver.mode="0")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="write" maxFrameSize="1048576"
  streamDriver.name="{driver}" streamDriver.mode="1" streamDriver.authMode="anon")
"#
    );
    let file = setting.dir.join("rsyslog.conf");
    std::fs::write(&file, text)?;
    let mut command = installed.command()?;
    command
        .arg("-n")
        .arg("-f")
        .arg(&file)
        .arg("-i")
        .arg(setting.dir.join("rsyslog.pid"))
        .arg("-M")
        .arg(&modules);
    Ok(Ok(command))
}

#[derive(Debug, Deserialize)]
struct Line {
    pri: String,
    timestamp: String,
    hostname: String,
    app_name: String,
    procid: String,
    msgid: String,
    structured_data: String,
    message: Text,
}

pub(super) fn read(line: &[u8]) -> anyhow::Result<Parsed> {
    let tab = line.iter().rposition(|byte| *byte == b'\t').context("no tab")?;
    let (fields, parsed) = line.split_at(tab);
    let line: Line = serde_json::from_slice(fields)?;
    let structured_data = elements(&line.structured_data)?;
    let short = structured_data
        .values()
        .flat_map(BTreeMap::keys)
        .all(|name| name.len() <= LONGEST_NAME);
    if short && !structured_data.is_empty() {
        let theirs: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&parsed[1..])?;
        ensure!(theirs == structured_data, "mmpstrucdata sees {theirs:?}");
    }
    let dash = |text: String| if text == "-" { String::new() } else { text };
    let message = line.message.0;
    Ok(Parsed {
        pri: line.pri.parse()?,
        timestamp: line.timestamp,
        hostname: line.hostname,
        app_name: line.app_name,
        procid: line.procid,
        msgid: dash(line.msgid),
        structured_data,
        message: message.strip_suffix(b"\n").unwrap_or(&message).to_vec(),
    })
}

/// Parses structured data, `[id name="value" …]…`, which rsyslog passes on unchanged.
fn elements(text: &str) -> anyhow::Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut elements = BTreeMap::new();
    if text == "-" {
        return Ok(elements);
    }
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']']).context("an id ends")?;
        let (id, mut behind) = element.split_at(end);
        let mut parameters = BTreeMap::new();
        while let Some(parameter) = behind.strip_prefix(' ') {
            let (name, value) = parameter.split_once("=\"").context("a value begins")?;
            let mut plain = String::new();
            let mut letters = value.char_indices();
            let end = loop {
                match letters.next().context("a value ends")? {
                    (at, '"') => break at,
                    (_, '\\') => plain.push(letters.next().context("an escape ends")?.1),
                    (_, letter) => plain.push(letter),
                }
            };
            ensure!(
                parameters.insert(name.to_owned(), plain).is_none(),
                "`{name}` comes twice"
            );
            behind = &value[end + 1..];
        }
        ensure!(
            elements.insert(id.to_owned(), parameters).is_none(),
            "`{id}` comes twice"
        );
        rest = behind.strip_prefix(']').context("an element ends")?;
    }
    ensure!(rest.is_empty(), "{rest} behind structured data");
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    /// Setup: a folder of modules for rsyslog that is empty at first. Must hold: each missing module is the reason for
    /// a skip, until all are there.
    #[test]
    fn a_missing_module_is_a_reason_to_skip() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("usr/lib/rsyslog");
        let installed = Installed {
            program: dir.path().join("usr/sbin/rsyslogd"),
            root: Some(dir.path().to_owned()),
        };
        let setting = Setting {
            dir: dir.path(),
            tcp: "127.0.0.1:1".parse().unwrap(),
            tls: "127.0.0.1:2".parse().unwrap(),
        };
        let reason = || command(&installed, &setting).unwrap().err().map(|Skip(reason)| reason);
        assert!(reason().unwrap().contains("install the package rsyslog"));
        create_dir_all(&modules).unwrap();
        assert!(reason().unwrap().contains("without TLS: install rsyslog-openssl"));
        write(modules.join("lmnsd_gtls.so"), "").unwrap();
        assert!(reason().unwrap().contains("imtcp.so"));
        for module in ["imtcp.so", "mmpstrucdata.so"] {
            write(modules.join(module), "").unwrap();
        }
        assert_eq!(reason(), None);
    }
}
