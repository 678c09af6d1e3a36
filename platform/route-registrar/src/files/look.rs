//! Looks for files again and again, and reads those that have changed.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files;
use crate::route::{Defaults, Route};
use crate::status::FileStatus;

/// The largest file that is read, in bytes: 4 MiB.
const MAX_SIZE: u64 = 4 << 20;

/// The files that were found.
#[derive(Debug)]
pub(crate) struct Files {
    patterns: Vec<String>,
    defaults: Defaults,
    seen: BTreeMap<PathBuf, File>,
}

#[derive(Debug, Default)]
struct File {
    signature: Option<Signature>,
    routes: Vec<Arc<Route>>,
    problems: Vec<String>,
}

/// The metadata that changes when a file does: device, inode, length and time of the last change.
type Signature = (u64, u64, u64, i64, i64);

fn signature(metadata: &Metadata) -> Signature {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    )
}

impl Files {
    /// Files whose paths match one of `patterns`.
    pub(crate) fn new(patterns: Vec<String>, defaults: Defaults) -> Self {
        Self {
            patterns,
            defaults,
            seen: BTreeMap::new(),
        }
    }

    /// Looks at all files; returns whether routes or problems have changed. It blocks its thread.
    pub(crate) fn look(&mut self) -> bool {
        let (paths, is_complete) = self.paths();
        let before = self.seen.len();
        // In a directory that cannot be read, files are not seen, and not gone.
        if is_complete {
            self.seen.retain(|path, _| paths.contains(path));
        }
        let mut changed = self.seen.len() != before;
        for path in paths {
            let file = self.seen.entry(path.clone()).or_default();
            changed |= file.look(&path, &self.defaults);
        }
        changed
    }

    /// All routes with the file of each.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Arc<Route>, Option<Arc<str>>)> + '_ {
        self.seen.iter().flat_map(|(path, file)| {
            let path: Arc<str> = path.display().to_string().into();
            let of_file = move |route: &Arc<Route>| (Arc::clone(route), Some(Arc::clone(&path)));
            file.routes.iter().map(of_file)
        })
    }

    /// The files, with what is wrong with each.
    pub(crate) fn status(&self) -> Vec<FileStatus> {
        let status = |(path, file): (&PathBuf, &File)| FileStatus {
            path: path.display().to_string(),
            problems: file.problems.clone(),
        };
        self.seen.iter().map(status).collect()
    }

    /// The paths that match, and whether all directories could be read.
    fn paths(&self) -> (Vec<PathBuf>, bool) {
        let (mut paths, mut is_complete) = (Vec::new(), true);
        // Patterns are checked with the configuration, so that none is left out here.
        for found in self
            .patterns
            .iter()
            .filter_map(|pattern| glob::glob(pattern).ok())
            .flatten()
        {
            match found {
                Ok(path) => paths.push(path),
                Err(error) => {
                    is_complete = false;
                    weir_service::limited!(
                        warn,
                        std::time::Duration::from_secs(60),
                        %error,
                        "a directory of route files cannot be read"
                    );
                }
            }
        }
        paths.sort();
        paths.dedup();
        (paths, is_complete)
    }
}

impl File {
    /// Reads the file if it has changed; returns whether routes or problems have.
    fn look(&mut self, path: &Path, defaults: &Defaults) -> bool {
        let metadata = fs::metadata(path);
        let now = metadata.as_ref().ok().map(signature);
        // The signature is older than the content: a file that is replaced while it is read is read again.
        if now.is_some() && self.signature == now {
            return false;
        }
        self.signature = now;
        let read = metadata.and_then(|metadata| text(path, &metadata));
        let read = read.map_err(|error| format!("cannot be read: {error}"));
        let found = read.and_then(|text| files::read(&text, defaults).map_err(|error| error.to_string()));
        let (routes, problems) = match found {
            Ok(found) => (Some(found.routes), found.problems),
            Err(problem) => (None, vec![problem]),
        };
        let is_new = self.problems != problems;
        for problem in problems.iter().filter(|_| is_new) {
            tracing::warn!(file = %path.display(), problem, "a file of routes has a problem");
        }
        self.problems = problems;
        let changed = routes.is_some();
        if let Some(routes) = routes {
            self.routes = routes.into_iter().map(Arc::new).collect();
        }
        changed || is_new
    }
}

fn text(path: &Path, metadata: &Metadata) -> io::Result<String> {
    if metadata.len() > MAX_SIZE {
        return Err(io::Error::other(format!("it is larger than {MAX_SIZE} bytes")));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(port: u16) -> String {
        format!("routes: [{{name: a, host: h, uris: [a.b], port: {port}, registration_interval: 1s}}]\n")
    }

    /// Files come, change and go. A file that is broken keeps its last routes, and says what is wrong.
    #[test]
    fn files_come_change_and_go() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("job/config.yml");
        let pattern = base.path().join("*/config.yml").display().to_string();
        let mut files = Files::new(vec![pattern.clone(), pattern], Defaults::default());
        assert!(!files.look());
        // Replaced by renaming: another inode is another signature, whatever the clock says.
        let write = |text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let new = base.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        let ports = |files: &Files| -> Vec<u16> {
            let port = |(route, file): (Arc<Route>, Option<Arc<str>>)| {
                assert_eq!(file.as_deref(), path.to_str());
                match &route.kind {
                    crate::route::Kind::Http(http) => http.port.unwrap(),
                    crate::route::Kind::Tcp(tcp) => tcp.port,
                }
            };
            files.routes().map(port).collect()
        };
        write(&file(1));
        assert!(files.look() && !files.look());
        assert_eq!(ports(&files), [1]);
        write(&file(2));
        assert!(files.look());
        assert_eq!(ports(&files), [2]);
        write("routes: [");
        assert!(files.look() && !files.look());
        assert_eq!((ports(&files), files.status()[0].problems.len()), (vec![2], 1));
        write(&file(3));
        assert!(files.look());
        assert_eq!((ports(&files), files.status()[0].problems.len()), (vec![3], 0));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(files.look());
        assert!(ports(&files).is_empty() && files.status().is_empty());
    }
}
