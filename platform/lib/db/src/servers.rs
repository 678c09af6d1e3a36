//! Database servers for tests: a PostgreSQL or a MariaDB in a temporary folder, which ends when it is dropped.
//!
//! A server listens only on a socket in its folder. If the tests run as root, PostgreSQL runs as `postgres`, because it
//! refuses to run as root, and MariaDB with `--user=root`. If a server is not installed, [`Server::start`] says so, and
//! the test is skipped. With `WEIR_REQUIRED=1` that is a failure.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "for tests only"
)]

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Database, DatabaseUrl, sql};

/// The time limit for a server to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A SQLite file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB, or MySQL if `mysqld` is that.
    MariaDb,
}

/// A running server, or a folder for SQLite files. It ends when this is dropped.
pub struct Server {
    kind: Kind,
    folder: tempfile::TempDir,
    child: Option<Child>,
    databases: std::sync::atomic::AtomicU32,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server and waits until it answers; `None`, with the reason on stderr, if it is not installed.
    ///
    /// # Panics
    /// If the server is installed and does not start, or if it is not installed and `WEIR_REQUIRED=1`.
    pub async fn start(kind: Kind) -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("weir-db-")
            .tempdir()
            .expect("a folder can be made");
        let child = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(postgres(folder.path())?),
            Kind::MariaDb => Some(mariadb(folder.path())?),
        };
        let server = Self {
            kind,
            folder,
            child,
            databases: std::sync::atomic::AtomicU32::new(0),
        };
        if let Some(maintenance) = server.maintenance() {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match Database::open(&maintenance).await {
                    Ok(database) => {
                        database.close().await;
                        break;
                    }
                    Err(error) if Instant::now() > deadline => panic!("{kind:?} did not come up: {error:?}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }
        Some(server)
    }

    /// Creates an empty database, and returns its URL.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn database(&self) -> DatabaseUrl {
        let number = self.databases.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("test_{number}");
        if let Some(maintenance) = self.maintenance() {
            let server = Database::open(&maintenance).await.expect("the server answers");
            server
                .execute(sql(format!("create database {name}")))
                .await
                .expect("a database can be made");
            server.close().await;
        }
        self.url(&name)
    }

    fn maintenance(&self) -> Option<DatabaseUrl> {
        match self.kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(self.url("postgres")),
            Kind::MariaDb => Some(self.url("mysql")),
        }
    }

    fn url(&self, name: &str) -> DatabaseUrl {
        let folder = self.folder.path().display();
        let text = match self.kind {
            Kind::Sqlite => format!("sqlite://{folder}/{name}.db"),
            Kind::Postgres => {
                let host = folder.to_string().replace('/', "%2F");
                format!("postgres://postgres@{host}/{name}")
            }
            Kind::MariaDb => {
                let user = user();
                format!("mysql://{user}@localhost/{name}?socket={folder}/socket&ssl-mode=DISABLED")
            }
        };
        text.parse().expect("an address of ours")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Nothing in it is worth an orderly end.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn postgres(folder: &Path) -> Option<Child> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        candidates.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    // The list is searched from its end: first the path, and then the newest version.
    candidates.sort();
    candidates.extend(path_folders());
    let Some(bin) = candidates
        .into_iter()
        .rev()
        .find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
    else {
        return skip("PostgreSQL is not installed (no `initdb` and `postgres`)");
    };
    let data = folder.join("data");
    let mut wrapper: Vec<String> = Vec::new();
    if user() == "root" {
        if on_path("setpriv").is_none() {
            return skip("PostgreSQL does not run as root, and there is no `setpriv`");
        }
        wrapper.extend(
            [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "--pdeathsig=KILL",
            ]
            .map(str::to_owned),
        );
        run(Command::new("chown").arg("postgres").arg(folder));
        // The folder was created with access for its owner only.
        run(Command::new("chmod").arg("711").arg(folder));
    }
    let command = |program: PathBuf| {
        let mut words = wrapper.clone();
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(folder);
        command
    };
    run(command(bin.join("initdb")).arg("--pgdata").arg(&data).args([
        "--auth=trust",
        "--username=postgres",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    ]));
    let child = command(bin.join("postgres"))
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(folder)
        .args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("postgres starts");
    Some(child)
}

fn mariadb(folder: &Path) -> Option<Child> {
    let install = on_path("mariadb-install-db").or_else(|| on_path("mysql_install_db"));
    let server = on_path("mariadbd").or_else(|| on_path("mysqld"));
    let (Some(install), Some(server)) = (install, server) else {
        return skip("MariaDB is not installed (no `mariadb-install-db` and `mariadbd`)");
    };
    let data = folder.join("data");
    let as_user = format!("--user={}", user());
    // Servers that start at the same time would remove each other's temporary tables.
    run(Command::new(install)
        .env("TMPDIR", folder)
        .args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            &as_user,
        ])
        .arg(format!("--datadir={}", data.display())));
    let child = Command::new(server)
        .env("TMPDIR", folder)
        .args(["--no-defaults", "--skip-networking", "--skip-grant-tables", &as_user])
        .args(["--innodb-flush-log-at-trx-commit=0", "--max-connections=200"])
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--socket={}", folder.join("socket").display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mariadbd starts");
    Some(child)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn user() -> String {
    std::env::var("USER")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "root".to_owned())
}

fn path_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // The folders of programs that users do not start by hand.
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders
}

fn on_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let program = program.as_ref();
    path_folders()
        .into_iter()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn skip<T>(reason: &str) -> Option<T> {
    let required = std::env::var("WEIR_REQUIRED").is_ok_and(|value| value == "1");
    assert!(!required, "WEIR_REQUIRED=1 allows no skips: {reason}");
    eprintln!("skipped: {reason}");
    None
}
