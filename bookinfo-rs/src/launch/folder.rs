//! The configuration folder of a demo: a temporary copy, or a folder in which only `workloads.yaml` is ours.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::topology::Workload;

/// The configuration that is built in.
const BUILT_IN: [(&str, &str); 3] = [
    ("services.yaml", include_str!("../../config/services.yaml")),
    (
        "destination-rules.yaml",
        include_str!("../../config/destination-rules.yaml"),
    ),
    ("gateway.yaml", include_str!("../../config/gateway.yaml")),
];

/// The file that the launcher writes.
pub const WORKLOADS: &str = "workloads.yaml";

/// How temporary folders begin; nothing else is ever removed as a whole.
const PREFIX: &str = "bookinfo-";

/// A configuration folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Whether the whole folder is ours, or only its `workloads.yaml`.
    is_copy: bool,
    removed: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = remove(&self.ours())
        {
            tracing::warn!("{error}");
        }
    }
}

/// A folder or file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is none.
    #[error("the configuration folder {} does not exist or is not a folder; name another one with --config", .0.display())]
    Missing(PathBuf),
    /// The system refused.
    #[error("{} cannot be {what}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn refused(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}

impl Folder {
    /// A temporary copy of `from`, or of the built-in configuration.
    ///
    /// # Errors
    /// When `from` is not a folder, or something cannot be copied.
    pub fn copy(from: Option<&Path>) -> Result<Self, FolderError> {
        if let Some(from) = from {
            exists(from)?;
        }
        let parent = std::env::temp_dir();
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .map_err(refused("written to", &parent))?;
        let this = Self {
            path: made.keep(),
            is_copy: true,
            removed: false,
        };
        match from {
            Some(from) => copy_yaml(from, &this.path)?,
            None => {
                for (name, text) in BUILT_IN {
                    let file = this.path.join(name);
                    fs::write(&file, text).map_err(refused("written", &file))?;
                }
            }
        }
        Ok(this)
    }

    /// A folder that somebody else's control plane reads.
    ///
    /// # Errors
    /// When it is not a folder.
    pub fn shared(path: &Path) -> Result<Self, FolderError> {
        exists(path)?;
        Ok(Self {
            path: path.to_owned(),
            is_copy: false,
            removed: false,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a copy that is removed at the end.
    pub const fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Writes the WorkloadEntries, all at once: no reader sees half of them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_workloads(&self, workloads: &[(Workload, SocketAddr)]) -> Result<(), FolderError> {
        // Not a YAML file by its name, so nobody reads it before it is renamed.
        let unfinished = self.path.join(".workloads.unfinished");
        let file = self.path.join(WORKLOADS);
        fs::write(&unfinished, entries(workloads)).map_err(refused("written", &unfinished))?;
        fs::rename(&unfinished, &file).map_err(refused("written", &file))
    }

    /// Removes what is ours.
    ///
    /// # Errors
    /// When it is still there afterwards.
    pub fn remove(mut self) -> Result<(), FolderError> {
        self.removed = true;
        remove(&self.ours())
    }

    fn ours(&self) -> PathBuf {
        if self.is_copy {
            self.path.clone()
        } else {
            self.path.join(WORKLOADS)
        }
    }
}

/// Removes a temporary copy, or a `workloads.yaml`; that it is gone already is fine. Refuses anything else.
///
/// # Errors
/// When it is still there afterwards.
pub fn remove(target: &Path) -> Result<(), FolderError> {
    let name = target
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let removed = if name == WORKLOADS {
        fs::remove_file(target)
    } else if name.starts_with(PREFIX) && target.parent() == Some(&std::env::temp_dir()) {
        fs::remove_dir_all(target)
    } else {
        Err(io::Error::other("it is not one of the launcher's"))
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(refused("removed", target)(error))
        }
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Result<(), FolderError> {
    if path.is_dir() {
        Ok(())
    } else {
        Err(FolderError::Missing(path.to_owned()))
    }
}

/// Copies what a control plane would read.
fn copy_yaml(from: &Path, to: &Path) -> Result<(), FolderError> {
    for entry in fs::read_dir(from).map_err(refused("read", from))? {
        let path = entry.map_err(refused("read", from))?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        let target = to.join(name);
        if path.is_dir() {
            fs::create_dir_all(&target).map_err(refused("written", &target))?;
            copy_yaml(&path, &target)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            fs::copy(&path, &target).map_err(refused("copied", &path))?;
        }
    }
    Ok(())
}

fn entries(workloads: &[(Workload, SocketAddr)]) -> String {
    let mut out = String::from(
        "# Where Bookinfo's processes are. Written by the launcher, removed when it ends.\n",
    );
    for (workload, address) in workloads {
        let (name, account) = (workload.name(), workload.service_account());
        let Workload {
            service, version, ..
        } = workload;
        let _ = write!(
            out,
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
             metadata:\n  name: {name}\n  namespace: default\n\
             spec:\n  address: {}\n  ports:\n    http: {}\n  labels:\n    app: {service}\n    version: {version}\n    \
             service.istio.io/canonical-name: {service}\n    service.istio.io/canonical-revision: {version}\n  \
             serviceAccount: {account}\n",
            address.ip(),
            address.port(),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::topology::workloads;

    #[test]
    fn a_copy_holds_valid_rules_with_its_workloads_and_is_gone_when_dropped() {
        let folder = Folder::copy(None).unwrap();
        let (workloads, _) = workloads();
        let placed: Vec<_> = workloads
            .into_iter()
            .map(|w| (w.clone(), SocketAddr::new(w.ip, 1234)))
            .collect();
        folder.write_workloads(&placed).unwrap();
        let loaded = mesh_istio::Config::load(folder.path()).unwrap();
        assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
        let entries = loaded
            .config
            .objects()
            .filter(|object| object.kind == "WorkloadEntry")
            .count();
        assert_eq!(entries, placed.len());
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_copy_takes_yaml_alone_at_any_depth() {
        let from = tempfile::tempdir().unwrap();
        fs::create_dir(from.path().join("deep")).unwrap();
        for name in ["a.yaml", "deep/b.yml", "notes.txt"] {
            fs::write(from.path().join(name), name).unwrap();
        }
        let folder = Folder::copy(Some(from.path())).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("deep/b.yml")).unwrap(),
            "deep/b.yml"
        );
        assert!(folder.path().join("a.yaml").exists() && !folder.path().join("notes.txt").exists());
        folder.remove().unwrap();
    }

    #[test]
    fn of_a_shared_folder_only_the_workloads_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine.yaml"), "").unwrap();
        let folder = Folder::shared(dir.path()).unwrap();
        folder.write_workloads(&[]).unwrap();
        folder.remove().unwrap();
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["mine.yaml"]);
    }

    #[test]
    fn nothing_else_is_ever_removed() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("bookinfo-x");
        fs::create_dir(&inner).unwrap();
        for target in [dir.path(), &inner] {
            assert!(remove(target).is_err(), "{}", target.display());
            assert!(target.exists());
        }
    }
}
