//! A folder's files as they stood at one moment.
//!
//! POSIX lets `readdir` show a file that is renamed meanwhile once, twice or never. So a reading counts only when a
//! listing before it and one after it agree, names and metadata of every file and folder.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::diagnostic::{Diagnostic, Rejected, Severity};

/// Folders within folders are read to this depth.
const MAX_FOLDERS: usize = 16;
/// Istio's objects are kilobytes; what is longer than this is another kind of file.
const MAX_BYTES: u64 = 64 << 20;
/// A folder that changes under every reading is given up after this time ...
const RESTLESS: Duration = Duration::from_millis(500);
/// ... and at least so many readings, however long one takes.
const READINGS: u32 = 4;
/// Between two readings: whoever is changing the folder may come to an end.
const PAUSE: Duration = Duration::from_millis(2);

/// What a folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The texts by path.
    pub(crate) texts: BTreeMap<PathBuf, String>,
    /// What has a name like a file of ours and is none.
    pub(crate) notes: Vec<Diagnostic>,
}

/// Reads a folder.
pub(crate) fn read(dir: &Path) -> Result<Content, Rejected> {
    read_at_rest(dir).unwrap_or_else(|| {
        let message = "cannot be read: its files change faster than they can be listed; try again when they are at rest";
        Err(Rejected::file(dir, message))
    })
}

/// Reads one file of any name.
pub(crate) fn file(path: &Path) -> Result<Content, Rejected> {
    let bytes = bytes(path).map_err(|error| unreadable(path, &error));
    match bytes.and_then(|bytes| text(path, bytes)) {
        Ok(text) => Ok(Content {
            texts: BTreeMap::from([(path.to_owned(), text)]),
            notes: Vec::new(),
        }),
        Err(diagnostic) => Err(Rejected {
            diagnostics: vec![diagnostic],
        }),
    }
}

/// The same as [`read`]; nothing where the folder does not come to rest.
pub(crate) fn read_at_rest(dir: &Path) -> Option<Result<Content, Rejected>> {
    let deadline = Instant::now() + RESTLESS;
    let mut texts = Texts::default();
    for reading in 1.. {
        let before = Listing::of(dir);
        let complete = texts.read(&before.files);
        if complete && before.is_still(&Listing::of(dir)) {
            return Some(texts.content(before));
        }
        if reading >= READINGS && Instant::now() >= deadline {
            break;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "no one tells when others stop to change the folder; only the next listing does"
        )]
        std::thread::sleep(PAUSE);
    }
    None
}

/// The bytes of a regular file; never waits for a writer, never reads without end.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let too_long = |length: u64| {
        let message =
            format!("it has {length} bytes; files of more than {MAX_BYTES} (64 MiB) are refused");
        io::Error::new(ErrorKind::FileTooLarge, message)
    };
    if metadata.len() > MAX_BYTES {
        return Err(too_long(metadata.len()));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    let length = File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if length as u64 > MAX_BYTES {
        return Err(too_long(length as u64));
    }
    Ok(bytes)
}

/// The texts read so far: of a second reading only what changed is read again.
#[derive(Default)]
struct Texts(BTreeMap<PathBuf, (Stamp, Result<String, Diagnostic>)>);

impl Texts {
    /// Whether every file was still there.
    fn read(&mut self, files: &BTreeMap<PathBuf, Entry>) -> bool {
        self.0.retain(
            |path, (stamp, _)| matches!(files.get(path), Some(Entry::Regular(now)) if now == stamp),
        );
        for (path, entry) in files {
            let Entry::Regular(stamp) = entry else {
                continue;
            };
            if self.0.contains_key(path) {
                continue;
            }
            let text = match bytes(path) {
                Ok(bytes) => text(path, bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => return false,
                Err(error) => Err(unreadable(path, &error)),
            };
            self.0.insert(path.clone(), (stamp.clone(), text));
        }
        true
    }

    fn content(self, listing: Listing) -> Result<Content, Rejected> {
        let mut content = Content::default();
        let mut diagnostics = listing.failed;
        for (path, (_, text)) in self.0 {
            match text {
                Ok(text) => {
                    content.texts.insert(path, text);
                }
                Err(diagnostic) => diagnostics.push(diagnostic),
            }
        }
        for (path, entry) in listing.files {
            if let Entry::Other(what) = entry {
                let message =
                    format!("this is {what}; only regular files are read, it is passed over");
                content
                    .notes
                    .push(Diagnostic::file(Severity::NotSupported, path, message));
            }
        }
        if diagnostics.is_empty() {
            Ok(content)
        } else {
            Err(Rejected { diagnostics })
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::file(Severity::Error, path, format!("cannot be read: {error}"))
}

/// The text of a file, or the place of the first byte that is none.
fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Diagnostic> {
    String::from_utf8(bytes).map_err(|error| {
        let (good, bad) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line_start = good
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&good[line_start..]).chars().count() + 1;
        let line = good.iter().filter(|b| **b == b'\n').count() + 1;
        let byte = bad.first().copied().unwrap_or_default();
        Diagnostic {
            line: line as u64,
            column: column as u64,
            ..Diagnostic::file(
                Severity::Error,
                path,
                format!("the byte 0x{byte:02X} is not UTF-8; save the file as UTF-8"),
            )
        }
    })
}

/// The names and metadata of a folder and its subfolders.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listing {
    /// A folder's own metadata changes with every name in it, whether or not it was seen.
    folders: BTreeMap<PathBuf, Stamp>,
    files: BTreeMap<PathBuf, Entry>,
    failed: Vec<Diagnostic>,
    /// A name was gone before it could be looked at.
    torn: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Regular(Stamp),
    /// Anything else, in words.
    Other(String),
}

/// What changes when a file or a folder does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: Inode,
    #[cfg(unix)]
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            inode: Inode::of(metadata),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Which file or folder a name stands for, where the system can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inode(u64, u64);

impl Inode {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(metadata.dev(), metadata.ino())
    }

    #[cfg(not(unix))]
    pub(crate) fn of(_: &Metadata) -> Self {
        Self(0, 0)
    }
}

impl Listing {
    fn of(dir: &Path) -> Self {
        let mut this = Self::default();
        if let Err(error) = this.folder(dir, MAX_FOLDERS) {
            this.failed.push(unreadable(dir, &error));
        }
        this
    }

    fn is_still(&self, later: &Self) -> bool {
        !self.torn && self == later
    }

    fn folder(&mut self, dir: &Path, depth: usize) -> io::Result<()> {
        // Before the names: a change while they are listed shows in the next listing.
        let stamp = Stamp::of(&std::fs::metadata(dir)?);
        self.folders.insert(dir.to_owned(), stamp);
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            // Hidden names are temporary files of editors and of ours, and the links of mounted config maps.
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // Links to folders are not followed: they could form a circle.
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if depth > 0
                    && let Err(error) = self.folder(&path, depth - 1)
                {
                    self.failed.push(unreadable(&path, &error));
                }
            } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                self.file(path);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) {
        let entry = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Entry::Regular(Stamp::of(&metadata)),
            Ok(metadata) => Entry::Other(kind(&metadata).to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let Ok(target) = std::fs::read_link(&path) else {
                    self.torn = true;
                    return;
                };
                Entry::Other(format!("a link to {}, where no file is", target.display()))
            }
            Err(error) => return self.failed.push(unreadable(&path, &error)),
        };
        self.files.insert(path, entry);
    }
}

/// What is no regular file, in words.
fn kind(metadata: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        let file_type = metadata.file_type();
        if file_type.is_fifo() {
            return "a named pipe";
        }
        if file_type.is_socket() {
            return "a socket";
        }
        if file_type.is_char_device() || file_type.is_block_device() {
            return "a device";
        }
    }
    if metadata.is_dir() {
        "a link to a folder"
    } else {
        "no file"
    }
}
