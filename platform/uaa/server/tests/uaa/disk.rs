//! A full disk.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::Uaa;

/// A file system of a few MiB, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts a file system. Fails with the system's message where that is not allowed.
    fn mount(size: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "weir-test"]);
        match mount.arg(folder.path()).output() {
            Ok(output) if output.status.success() => Ok(Self(folder)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Fills the free space.
    fn fill(&self) {
        let filler = std::fs::File::create(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1 << 9, 1] {
            while std::io::Write::write_all(&mut &filler, &vec![b'x'; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> std::path::PathBuf {
        self.path().join("filler")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

/// On a full disk, requests that write are refused with 503 and a reason, and requests that only read work. Once there is free
/// space, all requests work.
pub async fn full() {
    let disk = match SmallDisk::mount("8m") {
        Ok(disk) => disk,
        Err(reason) => {
            let required = std::env::var("WEIR_REQUIRED").is_ok_and(|value| value == "1");
            assert!(!required, "WEIR_REQUIRED=1 allows no skips: no small disk: {reason}");
            println!("skipped: no small disk: {reason}");
            return;
        }
    };
    let database = format!("sqlite://{}", disk.path().join("uaa.db").display());
    let folder = tempfile::tempdir().unwrap();
    let uaa = Uaa::on(folder, database.parse().unwrap(), |_| {}).await;
    let root = uaa.root().await;
    disk.fill();
    let mut refused = 0;
    for number in 0..200 {
        let user = json!({
            "userName": format!("fritz{number}"), "password": "pw", "emails": [{"value": "f@example.com"}],
            "externalId": "x".repeat(255),
        });
        let answer = uaa.client.post("/Users").bearer(&root).json(&user).send().await;
        if answer.status == 201 {
            // The database's files may have free pages for some writes.
            continue;
        }
        let said = answer.refused(503, "temporarily_unavailable");
        let hint = said["error_description"].as_str().unwrap();
        assert!(hint.contains("no room left on the disk"), "{hint}");
        assert!(!answer.header("retry-after").is_empty());
        refused += 1;
        if refused == 5 {
            break;
        }
    }
    assert_eq!(refused, 5, "the disk was full");
    let login = uaa.login("admin", &uaa.admin_password()).await.status;
    assert!(matches!(login.as_u16(), 200 | 503), "{login}");
    uaa.client.get("/Users").bearer(&root).send().await.ok();
    disk.free();
    uaa.login("admin", &uaa.admin_password()).await.ok();
    let user = json!({"userName": "frieda", "password": "pw", "emails": [{"value": "f@example.com"}]});
    uaa.client
        .post("/Users")
        .bearer(&root)
        .json(&user)
        .send()
        .await
        .expect(201);
    uaa.stop().await;
}
