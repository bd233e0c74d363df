//! A folder cut into documents, changed in memory and written as a whole.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::config::Options;
use crate::decode::Sink;
use crate::diagnostic::Rejected;
use crate::edit::{Action, line_end, read_header, write};
use crate::folder;
use crate::kinds::header::Header;
use crate::yaml::{self, Chunk};

/// A folder's files, cut into documents.
#[derive(Default)]
pub(super) struct Folder {
    files: BTreeMap<PathBuf, File>,
    /// Where each object stands: its file, and which of the file's documents it is.
    places: HashMap<(String, String, String, String), (PathBuf, usize)>,
}

#[derive(Default)]
struct File {
    /// As it was read; nothing when it was not there.
    was: Option<String>,
    /// The documents with their `---` lines; blank ones included.
    chunks: Vec<String>,
    changed: bool,
}

impl Folder {
    pub(super) fn read(dir: &Path) -> Result<Self, Rejected> {
        let mut this = Self::default();
        for (path, was) in folder::read(dir)?.texts {
            let text = was.strip_prefix('\u{feff}').unwrap_or(&was);
            let chunks = yaml::split(text);
            for (i, chunk) in chunks
                .iter()
                .enumerate()
                .filter(|(_, chunk)| !chunk.is_blank())
            {
                // A document that cannot be read is none that could be replaced; checking tells of it.
                if let Some(header) = read_header(chunk, &mut Sink::new(&path, Options::default()))
                {
                    this.places
                        .entry(header.key())
                        .or_insert_with(|| (path.clone(), i));
                }
            }
            let chunks = chunks.iter().map(|chunk| chunk.text.to_owned()).collect();
            this.files.insert(
                path,
                File {
                    was: Some(was),
                    chunks,
                    changed: false,
                },
            );
        }
        Ok(this)
    }

    pub(super) fn put(&mut self, dir: &Path, header: &Header, body: &str) -> (PathBuf, Action) {
        if let Some((path, at)) = self.places.get(&header.key()).cloned() {
            let file = self.files.entry(path.clone()).or_default();
            let body = file.line_ends(body);
            let Some(old) = file.chunks.get_mut(at) else {
                return (path, Action::Unchanged);
            };
            let kept = Chunk {
                text: old.as_str(),
                start: 0,
                lines_before: 0,
            }
            .body()
            .1;
            if old[kept..].trim_end() == body.trim_end() {
                return (path, Action::Unchanged);
            }
            old.replace_range(kept.., &body);
            file.changed = true;
            return (path, Action::Configured);
        }
        let path = dir.join(file_name(header));
        let file = self.files.entry(path.clone()).or_default();
        file.chunks.push(file.line_ends(body));
        file.changed = true;
        self.places
            .insert(header.key(), (path.clone(), file.chunks.len() - 1));
        (path, Action::Created)
    }

    pub(super) fn remove(&mut self, header: &Header) -> Option<PathBuf> {
        let (path, at) = self.places.remove(&header.key())?;
        let file = self.files.get_mut(&path)?;
        // The place stays, so that the numbers of the documents after it do.
        file.chunks.get_mut(at)?.clear();
        file.changed = true;
        Some(path)
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = (PathBuf, String)> {
        self.files
            .iter()
            .map(|(path, file)| (path.clone(), file.text()))
    }

    /// Writes what changed; `false` when someone else changed the same files since they were read.
    pub(super) fn write(&self) -> Result<bool, Rejected> {
        let changed = || self.files.iter().filter(|(_, file)| file.changed);
        // All of them first: an edit of several files starts over before it has written one.
        for (path, file) in changed() {
            let same = write::is_still(path, file.was.as_deref());
            if !same.map_err(|error| failed(path, &error))? {
                return Ok(false);
            }
        }
        for (path, file) in changed() {
            let was = file.was.as_deref();
            let result = if file.is_blank() {
                write::remove(path, was)
            } else {
                write::replace(path, was, &file.text())
            };
            if !result.map_err(|error| failed(path, &error))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Rejected {
    Rejected::file(path, format!("cannot be written: {error}"))
}

impl File {
    fn line_end(&self) -> Option<&'static str> {
        self.chunks.iter().find_map(|chunk| line_end(chunk))
    }

    /// A document with the line ends of this file, the last one included.
    fn line_ends(&self, body: &str) -> String {
        let end = self.line_end().or_else(|| line_end(body)).unwrap_or("\n");
        let mut body = body.replace("\r\n", "\n");
        if !body.ends_with('\n') {
            body.push('\n');
        }
        if end == "\n" {
            body
        } else {
            body.replace('\n', end)
        }
    }

    fn text(&self) -> String {
        let end = self.line_end().unwrap_or("\n");
        let mut out = String::new();
        for chunk in self.chunks.iter().filter(|chunk| !chunk.is_empty()) {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push_str(end);
            }
            let opened =
                chunk.starts_with("---") || out.is_empty() || out.trim_end().ends_with("\n...");
            if !opened {
                out.push_str("---");
                out.push_str(end);
            }
            out.push_str(chunk);
        }
        out
    }

    fn is_blank(&self) -> bool {
        self.chunks.iter().all(|text| {
            Chunk {
                text,
                start: 0,
                lines_before: 0,
            }
            .is_blank()
        })
    }
}

/// `kind-namespace-name.yaml` of characters that every file system takes.
fn file_name(header: &Header) -> String {
    let plain = |s: &str| -> String {
        s.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect()
    };
    format!(
        "{}-{}-{}.yaml",
        plain(&header.kind),
        plain(&header.namespace),
        plain(&header.name)
    )
}
