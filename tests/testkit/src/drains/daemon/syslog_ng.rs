//! Configures syslog-ng, and reads what it parsed: a JSON object, in which the keys `.SDATA.<id>.<name>` are the
//! structured data.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Context as _;

use super::{Installed, Parsed, Setting, Text};
use crate::Skip;

/// The delimiter of keys, which occurs in none of them. With the default, a dot, syslog-ng would write nested objects.
const DELIMITER: char = '~';

/// Returns the command of the program, or a [`Skip`] if a module is missing that the configuration needs.
pub(super) fn command(installed: &Installed, setting: &Setting<'_>) -> anyhow::Result<Result<Command, Skip>> {
    let lacks = |what: &str| {
        Skip(format!(
            "syslog-ng is installed without {what}: install the package that has it, or let `tests/clients/receivers` \
             unpack another one"
        ))
    };
    let dir = setting.dir.display();
    let (tcp, tls) = (setting.tcp.port(), setting.tls.port());
    let version = version(installed)?;
    let text = format!(
        r#"@version: {version}
options {{
  stats-freq(0); use-dns(no); dns-cache(no); keep-hostname(yes); keep-timestamp(yes); chain-hostnames(no);
  log-msg-size(1048576); time-zone("UTC"); frac-digits(6); flush-lines(1); log-fifo-size(1000000);
}};
source s_tcp {{ syslog(transport("tcp") ip("127.0.0.1") port({tcp}) max-connections(100) log-iw-size(10000)); }};
source s_tls {{ syslog(transport("tls") ip("127.0.0.1") port({tls}) max-connections(100) log-iw-size(10000)
  tls(key-file("{dir}/server.key") cert-file("{dir}/server.crt") peer-verify(optional-untrusted))); }};
template parsed {{ template("$(format-json --key-delimiter {DELIMITER} pri=\"$PRI\" timestamp=\"$ISODATE\" hostname=\"$HOST\" app_name=\"$PROGRAM\" procid=\"$PID\" msgid=\"$MSGID\" message=\"$MESSAGE\" --key .SDATA.*)\n"); }};
destination d_file {{ file("{dir}/messages" template(parsed)); }};
log {{ source(s_tcp); source(s_tls); destination(d_file); flags(flow-control); }};
"#
    );
    let file = setting.dir.join("syslog-ng.conf");
    std::fs::write(&file, text)?;
    let mut command = installed.command()?;
    command.args(["-F", "--no-caps", "--stderr", "-f"]).arg(&file);
    for (flag, name) in [("-R", "persist"), ("-p", "pid"), ("-c", "control")] {
        command.arg(flag).arg(setting.dir.join(name));
    }
    let folder = installed.folder("syslog-ng");
    let mut versions = folder.into_iter().flat_map(std::fs::read_dir).flatten().flatten();
    let modules = versions.find_map(|entry| Some(entry.path()).filter(|path| path.join("libaffile.so").is_file()));
    let Some(modules) = modules else {
        return Ok(Err(lacks("its modules")));
    };
    for module in ["libafsocket.so", "libjson-plugin.so"] {
        if !modules.join(module).is_file() {
            return Ok(Err(lacks(module)));
        }
    }
    if installed.root.is_some() {
        command.arg(format!("--module-path={}", modules.display()));
    }
    Ok(Ok(command))
}

/// Returns the version of syslog-ng, which its configuration must name.
fn version(installed: &Installed) -> anyhow::Result<String> {
    let output = installed.command()?.arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Config version: "));
    let version =
        line.with_context(|| format!("syslog-ng --version: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(version.trim().to_owned())
}

pub(super) fn read(line: &[u8]) -> anyhow::Result<Parsed> {
    let mut fields: BTreeMap<String, Text> = serde_json::from_slice(line)?;
    let mut structured_data = BTreeMap::<String, BTreeMap<String, String>>::new();
    let mut parsed = Parsed::default();
    while let Some((key, value)) = fields.pop_first() {
        if let Some(parameter) = key.strip_prefix(".SDATA.") {
            let (id, name) = parameter.split_once('.').with_context(|| key.clone())?;
            let element = structured_data.entry(id.to_owned()).or_default();
            element.insert(name.to_owned(), value.utf8()?);
            continue;
        }
        match key.as_str() {
            "pri" => parsed.pri = value.utf8()?.parse()?,
            "timestamp" => parsed.timestamp = value.utf8()?,
            "hostname" => parsed.hostname = value.utf8()?,
            "app_name" => parsed.app_name = value.utf8()?,
            "procid" => parsed.procid = value.utf8()?,
            "msgid" => parsed.msgid = value.utf8()?,
            "message" => parsed.message = value.0,
            _ => anyhow::bail!("what is `{key}`?"),
        }
    }
    parsed.structured_data = structured_data;
    Ok(parsed)
}
