//! Writing one file of a folder so that no one sees half of it and no one's change gets lost.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::folder;

/// Waits for the folder's lock; it ends with the value. Nothing where the file system has no locks: then the
/// comparison before each write is the only guard.
pub(super) fn lock(dir: &Path) -> Option<File> {
    if !dir.is_dir() {
        // Opening a named pipe would wait for its writer.
        return None;
    }
    let handle = File::open(dir).ok()?;
    loop {
        match handle.lock() {
            Ok(()) => return Some(handle),
            // A signal came while it waited.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Whether a file holds what it held when it was read.
pub(super) fn is_still(path: &Path, was: Option<&str>) -> io::Result<bool> {
    match folder::bytes(path) {
        Ok(bytes) => Ok(was.is_some_and(|was| was.as_bytes() == bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(was.is_none()),
        Err(error) => Err(error),
    }
}

/// Removes a file, unless it changed: then `false`.
pub(super) fn remove(path: &Path, was: Option<&str>) -> io::Result<bool> {
    if !is_still(path, was)? {
        return Ok(false);
    }
    fs::remove_file(path).map(|()| true)
}

/// Writes beside the file, under a name that readers pass over, and renames, unless the file changed: then `false`.
pub(super) fn replace(path: &Path, was: Option<&str>, text: &str) -> io::Result<bool> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let target = target(path);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = target.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()));
    let result = fill(&temporary, &target, text).and_then(|()| {
        let same = is_still(path, was)?;
        if same {
            fs::rename(&temporary, &target)?;
        }
        Ok(same)
    });
    if !matches!(result, Ok(true)) {
        // Best effort: what counts is why nothing was written.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Writes a new file with the mode of the one it is to replace.
fn fill(temporary: &Path, target: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    // Before the text: what only the owner may read is not open to others meanwhile.
    if let Ok(metadata) = fs::metadata(target) {
        file.set_permissions(metadata.permissions())?;
    }
    file.write_all(text.as_bytes())
}

/// Where a path leads: renaming over a link would put a file into the link's place.
fn target(path: &Path) -> PathBuf {
    let Ok(link) = fs::read_link(path) else {
        return path.to_owned();
    };
    fs::canonicalize(path).unwrap_or_else(|_| {
        path.parent()
            .map_or_else(|| link.clone(), |dir| dir.join(&link))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Editors take no lock: what they wrote since the reading is seen by the comparison alone.
    #[test]
    fn what_others_wrote_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "theirs").unwrap();
        for was in [Some("read before"), None] {
            assert!(!replace(&path, was, "ours").unwrap());
            assert!(!remove(&path, was).unwrap());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(&path, Some("theirs"), "ours").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        assert!(remove(&path, Some("ours")).unwrap());
        assert!(!replace(&path, Some("ours"), "again").unwrap());
        assert!(replace(&path, None, "new").unwrap());
    }
}
