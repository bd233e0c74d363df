//! The configuration folder of a demo: a temporary copy, or a folder in which two files are ours: `workloads.yaml`,
//! and `bookinfo-tour.yaml` while a tour is played.

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

/// The file that the tour writes: all its rules, so that it never touches a file of somebody else's.
pub const TOUR: &str = "bookinfo-tour.yaml";

/// The file that the launcher writes for `--mtls`.
pub const MTLS: &str = "bookinfo-mtls.yaml";

/// How temporary folders begin; nothing else is ever removed as a whole.
const PREFIX: &str = "bookinfo-";

/// A configuration folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Whether the whole folder is ours, or only files in it.
    is_copy: bool,
    /// Whether the tour's file is ours, too.
    tour: bool,
    /// What is written for `--mtls`; the file is ours then.
    mtls: Option<String>,
    removed: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = remove_all(&self.ours())
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
    /// The tour's file is there, and not by this tour.
    #[error(
        "{} is there already: another tour is being played in this folder, or one was cut off; remove the file when no tour runs, or name another folder with --config",
        .0.display()
    )]
    TourThere(PathBuf),
    /// What `--mtls` would put there is there, and not by this launcher.
    #[error(
        "{} is there already: another launcher uses this folder, or one was cut off; remove the file when none runs, or name another folder with --config",
        .0.display()
    )]
    MtlsThere(PathBuf),
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

/// A new temporary folder with this in its name, which this user alone can read, and which [`remove`] removes.
///
/// # Errors
/// When there is no place for one.
pub fn made(kind: &str) -> Result<PathBuf, FolderError> {
    let parent = std::env::temp_dir();
    let prefix = format!("{PREFIX}{kind}");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let made = builder.tempdir_in(&parent);
    Ok(made.map_err(refused("written to", &parent))?.keep())
}

pub(crate) fn refused(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}

impl Folder {
    /// An empty temporary folder, to be filled with a copy of `from`, or of the built-in configuration.
    ///
    /// # Errors
    /// When `from` is not a folder, or there is no place for a copy.
    pub fn temporary(from: Option<&Path>) -> Result<Self, FolderError> {
        if let Some(from) = from {
            exists(from)?;
        }
        Ok(Self {
            path: made("")?,
            is_copy: true,
            tour: false,
            mtls: None,
            removed: false,
        })
    }

    /// Fills a temporary folder; one that is shared has what it needs, but for `--mtls`.
    ///
    /// # Errors
    /// When something cannot be copied.
    pub fn fill(&self, from: Option<&Path>) -> Result<(), FolderError> {
        match from {
            _ if !self.is_copy => {}
            Some(from) => copy_yaml(from, &self.path)?,
            None => BUILT_IN
                .iter()
                .try_for_each(|(name, text)| write(&self.path, name, text))?,
        }
        match &self.mtls {
            Some(rules) => write(&self.path, MTLS, rules),
            None => Ok(()),
        }
    }

    /// A folder that somebody else's control plane reads. With `tour` the tour's file is ours, too.
    ///
    /// # Errors
    /// When it is not a folder, or the tour's file is there already.
    pub fn shared(path: &Path, tour: bool) -> Result<Self, FolderError> {
        exists(path)?;
        let rules = path.join(TOUR);
        if tour && rules.exists() {
            return Err(FolderError::TourThere(rules));
        }
        Ok(Self {
            path: path.to_owned(),
            is_copy: false,
            tour,
            mtls: None,
            removed: false,
        })
    }

    /// Has [`fill`](Self::fill) write these rules, too.
    ///
    /// # Errors
    /// When the folder is shared, and the file is there already.
    pub fn with_mtls(mut self, rules: Option<String>) -> Result<Self, FolderError> {
        let file = self.path.join(MTLS);
        if rules.is_some() && file.exists() {
            return Err(FolderError::MtlsThere(file));
        }
        self.mtls = rules;
        Ok(self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a copy that is removed at the end.
    pub const fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Writes the WorkloadEntries.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_workloads(&self, workloads: &[(Workload, SocketAddr)]) -> Result<(), FolderError> {
        write(&self.path, WORKLOADS, &entries(workloads))
    }

    /// Removes what is ours.
    ///
    /// # Errors
    /// When it is still there afterwards.
    pub fn remove(mut self) -> Result<(), FolderError> {
        self.removed = true;
        remove_all(&self.ours())
    }

    /// What is removed at the end.
    pub fn ours(&self) -> Vec<PathBuf> {
        if self.is_copy {
            return vec![self.path.clone()];
        }
        let files = [
            Some(WORKLOADS),
            self.tour.then_some(TOUR),
            self.mtls.as_ref().map(|_| MTLS),
        ];
        files
            .into_iter()
            .flatten()
            .map(|name| self.path.join(name))
            .collect()
    }
}

/// Writes a file all at once: no reader sees half of it.
///
/// # Errors
/// When it cannot be written.
pub fn write(dir: &Path, name: &str, text: &str) -> Result<(), FolderError> {
    let file = dir.join(name);
    let unfinished = unfinished(&file);
    fs::write(&unfinished, text).map_err(refused("written", &unfinished))?;
    fs::rename(&unfinished, &file).map_err(refused("written", &file))
}

/// Not a YAML file by its name, so nobody reads it before it is renamed.
fn unfinished(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.unfinished"))
}

/// Removes each, even where one cannot be; see [`remove`].
///
/// # Errors
/// The first that is still there afterwards.
pub fn remove_all(targets: &[PathBuf]) -> Result<(), FolderError> {
    let results: Vec<_> = targets.iter().map(|target| remove(target)).collect();
    results.into_iter().collect()
}

/// Removes a temporary copy, or a file of ours; that it is gone already is fine. Refuses anything else.
///
/// # Errors
/// When it is still there afterwards.
pub fn remove(target: &Path) -> Result<(), FolderError> {
    let name = target
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let removed = if [WORKLOADS, TOUR, MTLS].contains(&name) {
        // Left only where a writer was killed.
        let _ = fs::remove_file(unfinished(target));
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
        // ratings answers by gRPC on the port on which it answers by HTTP.
        let grpc = match *service {
            "ratings" => format!("    grpc: {}\n", address.port()),
            _ => String::new(),
        };
        let _ = write!(
            out,
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
             metadata:\n  name: {name}\n  namespace: default\n\
             spec:\n  address: {}\n  ports:\n    http: {}\n{grpc}  labels:\n    app: {service}\n    version: {version}\n    \
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

    fn copy(from: Option<&Path>) -> Folder {
        let folder = Folder::temporary(from).unwrap();
        folder.fill(from).unwrap();
        folder
    }

    #[test]
    fn a_copy_holds_valid_rules_with_its_workloads_and_is_gone_when_dropped() {
        let folder = copy(None);
        let (workloads, _) = workloads(true);
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
        let folder = copy(Some(from.path()));
        assert_eq!(
            fs::read_to_string(folder.path().join("deep/b.yml")).unwrap(),
            "deep/b.yml"
        );
        assert!(folder.path().join("a.yaml").exists() && !folder.path().join("notes.txt").exists());
        folder.remove().unwrap();
    }

    #[test]
    fn of_a_shared_folder_only_our_files_are_removed() {
        for (tour, left) in [
            (false, &["bookinfo-tour.yaml", "mine.yaml"][..]),
            (true, &["mine.yaml"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("mine.yaml"), "").unwrap();
            let folder = Folder::shared(dir.path(), tour).unwrap();
            folder.write_workloads(&[]).unwrap();
            write(dir.path(), TOUR, "").unwrap();
            fs::write(dir.path().join(".workloads.yaml.unfinished"), "").unwrap();
            folder.remove().unwrap();
            let mut found: Vec<_> = fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            found.sort();
            assert_eq!(found, left);
        }
    }

    #[test]
    fn a_file_of_another_tour_is_neither_overwritten_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), TOUR, "theirs").unwrap();
        let error = Folder::shared(dir.path(), true).unwrap_err().to_string();
        assert!(
            error.contains(TOUR) && error.contains("--config"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(dir.path().join(TOUR)).unwrap(), "theirs");
        // A launcher without a tour has nothing to do with it.
        Folder::shared(dir.path(), false).unwrap();
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
