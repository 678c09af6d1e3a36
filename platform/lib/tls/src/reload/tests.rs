//! How a value follows its files. The tests do not wait, but set the time of the last check back.

use std::fs;

use tempfile::TempDir;

use super::*;

fn reloading() -> (TempDir, PathBuf, Reloading<String>) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("value");
    fs::write(&path, "one").unwrap();
    let read = path.clone();
    let value = Reloading::new(vec![path.clone()], move || {
        let text = fs::read_to_string(&read).map_err(|source| TlsError::Unreadable {
            path: read.clone(),
            source,
        })?;
        if text.contains("broken") {
            return Err(TlsError::NotPem {
                path: read.clone(),
                wanted: "certificate",
            });
        }
        Ok(text)
    })
    .unwrap();
    (dir, path, value)
}

fn a_second_passes<T>(value: &Reloading<T>) {
    value.watch.lock().checked -= CHECK_INTERVAL;
}

/// A change is not noticed within a second of the last check, and noticed after that.
#[test]
fn follows_once_a_second() {
    let (_dir, path, value) = reloading();
    fs::write(&path, "two!").unwrap();
    assert_eq!(*value.get(), "one");
    a_second_passes(&value);
    assert_eq!(*value.get(), "two!");
}

/// A broken or missing file keeps the old value and causes one warning. The next usable file is read.
#[test]
fn broken_files_keep_the_old_value() {
    let (_dir, path, value) = reloading();
    for content in [Some("broken"), Some("broken again"), None] {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        a_second_passes(&value);
        assert_eq!(*value.get(), "one");
    }
    assert_eq!(value.watch.lock().swallowed, 2);
    fs::write(&path, "three").unwrap();
    a_second_passes(&value);
    assert_eq!(*value.get(), "three");
    assert_eq!(value.watch.lock().swallowed, 0);
}

/// A value that is made from another one follows the files by itself.
#[test]
fn mapped_values_follow() {
    let (_dir, path, value) = reloading();
    let mapped = value.map(|text| text.len());
    assert_eq!(*mapped.get(), 3);
    fs::write(&path, "seven").unwrap();
    a_second_passes(&mapped);
    assert_eq!(*mapped.get(), 5);
    assert_eq!(*value.get(), "one");
}
