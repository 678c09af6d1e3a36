//! Runs a UAA alone, for tests with clients in other languages and for a look at its pages.
//!
//! ```text
//! cargo run -p weir-platform-uaa-server --example uaa -- DIR [KEY=VALUE …]
//! ```
//!
//! All files are in DIR, with a CA and a SQLite database of its own; `DIR/uaa.toml` is read if it exists. The UAA listens on a
//! free port of the loopback interface by default. Then it writes `DIR/uaa.json` with `url`, `ca`, `admin_user`,
//! `admin_password` and `client_secrets`. It stops when its standard input ends.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use weir_config::Loader;
use weir_platform_uaa_server::{Config, RawConfig, Server};
use weir_service::Context;
use weir_tls::Authority;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder? uaa DIR [KEY=VALUE …]")?);
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let authority = Authority::open_or_create(&folder.join("tls"))?;
    let identity = authority.issue("uaa", &[])?;
    let in_folder = |name: &str| folder.join(name).display().to_string();
    let mut overrides = vec![
        ("listen".to_owned(), "127.0.0.1:0".to_owned()),
        ("identity.cert".to_owned(), identity.cert.display().to_string()),
        ("identity.key".to_owned(), identity.key.display().to_string()),
        ("database".to_owned(), format!("sqlite://{}", in_folder("uaa.db"))),
        ("admin_password_file".to_owned(), in_folder("admin-password")),
        ("client_secrets_file".to_owned(), in_folder("client-secrets.json")),
        ("master_key_file".to_owned(), in_folder("master-key")),
    ];
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or("settings are written KEY=VALUE")?;
        overrides.push((key.to_owned(), value.to_owned()));
    }
    let mut loader = Loader::new("uaa").overrides(&overrides);
    let file = folder.join("uaa.toml");
    if file.exists() {
        loader = loader.file(&file);
    }
    let (_, config) = loader.load::<RawConfig, Config>()?;
    let admin_user = config.admin_user.clone();
    let (trigger, context) = Context::new("uaa");
    let server = Server::bind(config, context.clone()).await?;
    let description = serde_json::json!({
        "url": server.external_url(),
        "ca": identity.ca,
        "admin_user": admin_user,
        "admin_password": std::fs::read_to_string(folder.join("admin-password"))?.trim(),
        "client_secrets": serde_json::from_slice::<serde_json::Value>(&std::fs::read(folder.join("client-secrets.json"))?)?,
    });
    let description = description.to_string();
    weir_files::replace(
        &folder.join("uaa.json"),
        description.as_bytes(),
        weir_files::Readers::Owner,
    )?;
    context.tasks.spawn("standard input", async move {
        let mut byte = [0];
        // Whatever comes is ignored; the end, or an error, is the end.
        while matches!(tokio::io::stdin().read(&mut byte).await, Ok(1..)) {}
        trigger.fire();
    });
    server.run().await?;
    context.finish(Duration::from_secs(10)).await?;
    Ok(())
}
