//! Editing a folder as `kubectl apply` and `kubectl delete` edit a cluster: whole documents, by kind and name.
//!
//! Edits are textual, so comments and the other documents of a file stay as they are. A file is written beside its
//! place and renamed into it: a reader sees the old or the new text, never half of one.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{Config, read_folder};
use crate::decode::Sink;
use crate::diagnostic::Rejected;
use crate::kinds::header::{self, Header};
use crate::yaml::{self, Chunk, Data};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was not there before.
    Created,
    /// It was there with another text.
    Configured,
    /// It was there, with the same text.
    Unchanged,
    /// It was there and is gone.
    Deleted,
    /// It was to be deleted and was not there.
    NotFound,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::NotFound => "not found",
        })
    }
}

/// One object of an [`apply`] or a [`delete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`, defaulted.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The file that holds or held it; the folder where there is none.
    pub file: PathBuf,
    /// What happened.
    pub action: Action,
}

/// Writes the objects of `text` into the folder: over the document that has the object now, else into a new file
/// `kind-namespace-name.yaml`. A namespace that the text does not say is written as `default`.
///
/// # Errors
/// When the text, or the folder as it would be, is wrong: then nothing is written. When a file cannot be written.
pub fn apply(dir: &Path, text: &str, source_name: &Path) -> Result<Vec<Applied>, Rejected> {
    Config::parse([(source_name.to_owned(), text.to_owned())])?;
    let mut folder = Folder::read(dir)?;
    let mut applied = Vec::new();
    for (header, body) in documents(text, source_name)? {
        let body = with_namespace(&header, body, source_name)?;
        let (file, action) = folder.put(dir, &header, &body);
        applied.push(outcome(header, file, action));
    }
    Config::parse(folder.texts())?;
    folder.write()?;
    Ok(applied)
}

/// Removes the objects of `text` from the folder; only their kinds and names count. A file without documents goes.
///
/// # Errors
/// When the text does not name objects, or the folder cannot be read or written.
pub fn delete(dir: &Path, text: &str, source_name: &Path) -> Result<Vec<Applied>, Rejected> {
    let mut folder = Folder::read(dir)?;
    let mut applied = Vec::new();
    for (header, _) in documents(text, source_name)? {
        let (file, action) = folder.remove(&header).map_or_else(
            || (dir.to_owned(), Action::NotFound),
            |f| (f, Action::Deleted),
        );
        applied.push(outcome(header, file, action));
    }
    folder.write()?;
    Ok(applied)
}

fn outcome(header: Header, file: PathBuf, action: Action) -> Applied {
    Applied {
        kind: header.kind,
        namespace: header.namespace,
        name: header.name,
        file,
        action,
    }
}

/// The objects of a text: which they are, and their documents without the `---` line.
fn documents(text: &str, source: &Path) -> Result<Vec<(Header, Body)>, Rejected> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sink = Sink::new(source);
    let mut out = Vec::new();
    for chunk in yaml::split(text)
        .into_iter()
        .filter(|chunk| !chunk.is_blank())
    {
        if let Some(header) = read_header(&chunk, &mut sink) {
            let (body, skipped) = chunk.body();
            out.push((
                header,
                Body {
                    text: body.to_owned(),
                    start: chunk.start + skipped,
                },
            ));
        }
    }
    if sink.errors.is_empty() {
        Ok(out)
    } else {
        Err(Rejected {
            diagnostics: sink.errors,
        })
    }
}

/// A document's text and where it starts in its file.
struct Body {
    text: String,
    start: usize,
}

fn read_header(chunk: &Chunk<'_>, sink: &mut Sink) -> Option<Header> {
    match yaml::parse(chunk) {
        Ok(document) if document.data == Data::Null => None,
        Ok(document) => header::decode(&document, sink),
        Err(error) => {
            sink.error(error.at, format!("invalid YAML: {}", error.message));
            None
        }
    }
}

/// The document with its namespace written out.
fn with_namespace(header: &Header, body: Body, source: &Path) -> Result<String, Rejected> {
    let Body { mut text, start } = body;
    if header.has_namespace {
        return Ok(text);
    }
    let failed = || {
        let message = format!(
            "cannot add metadata.namespace to {} {}; please write it there",
            header.kind, header.name
        );
        Rejected::file(source, message)
    };
    let (at, in_flow) = header.insert_namespace.ok_or_else(failed)?;
    let at = at
        .checked_sub(start)
        .filter(|at| text.is_char_boundary(*at))
        .ok_or_else(failed)?;
    let namespace = &header.namespace;
    if in_flow {
        text.insert_str(at, &format!("namespace: {namespace}, "));
    } else {
        let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        text.insert_str(
            at,
            &format!("namespace: {namespace}\n{}", " ".repeat(column)),
        );
    }
    // Proof that the edit did what it should, whatever the form of the text.
    let again = documents(&text, source).map_err(|_| failed())?;
    let good =
        matches!(&again[..], [(found, _)] if found.has_namespace && found.key() == header.key());
    if good { Ok(text) } else { Err(failed()) }
}

/// A folder's files, cut into documents.
#[derive(Default)]
struct Folder {
    files: BTreeMap<PathBuf, File>,
    /// Where each object stands: its file, and which of the file's documents it is.
    places: HashMap<(String, String, String, String), (PathBuf, usize)>,
}

#[derive(Default)]
struct File {
    /// The documents with their `---` lines; blank ones included.
    chunks: Vec<String>,
    changed: bool,
}

impl Folder {
    fn read(dir: &Path) -> Result<Self, Rejected> {
        let mut this = Self::default();
        for (path, text) in read_folder(dir)? {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let chunks = yaml::split(text);
            for (i, chunk) in chunks
                .iter()
                .enumerate()
                .filter(|(_, chunk)| !chunk.is_blank())
            {
                // A document that cannot be read is none that could be replaced; checking tells of it.
                if let Some(header) = read_header(chunk, &mut Sink::new(&path)) {
                    this.places
                        .entry(header.key())
                        .or_insert_with(|| (path.clone(), i));
                }
            }
            let chunks = chunks.iter().map(|chunk| chunk.text.to_owned()).collect();
            this.files.insert(
                path,
                File {
                    chunks,
                    changed: false,
                },
            );
        }
        Ok(this)
    }

    fn put(&mut self, dir: &Path, header: &Header, body: &str) -> (PathBuf, Action) {
        let mut body = body.to_owned();
        if !body.ends_with('\n') {
            body.push('\n');
        }
        if let Some((path, at)) = self.places.get(&header.key()).cloned() {
            let file = self.files.entry(path.clone()).or_default();
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
        file.chunks.push(body);
        file.changed = true;
        self.places
            .insert(header.key(), (path.clone(), file.chunks.len() - 1));
        (path, Action::Created)
    }

    fn remove(&mut self, header: &Header) -> Option<PathBuf> {
        let (path, at) = self.places.remove(&header.key())?;
        let file = self.files.get_mut(&path)?;
        // The place stays, so that the numbers of the documents after it do.
        file.chunks.get_mut(at)?.clear();
        file.changed = true;
        Some(path)
    }

    fn texts(&self) -> impl Iterator<Item = (PathBuf, String)> {
        self.files
            .iter()
            .map(|(path, file)| (path.clone(), file.text()))
    }

    fn write(&self) -> Result<(), Rejected> {
        for (path, file) in self.files.iter().filter(|(_, file)| file.changed) {
            let result = if file.is_blank() {
                std::fs::remove_file(path)
            } else {
                replace(path, &file.text())
            };
            result.map_err(|error| Rejected::file(path, format!("cannot be written: {error}")))?;
        }
        Ok(())
    }
}

impl File {
    fn text(&self) -> String {
        let mut out = String::new();
        for chunk in self.chunks.iter().filter(|chunk| !chunk.is_empty()) {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
            let opened =
                chunk.starts_with("---") || out.is_empty() || out.trim_end().ends_with("\n...");
            if !opened {
                out.push_str("---\n");
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

/// Writes beside the file, under a name that readers pass over, and renames.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()));
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path).inspect_err(|_| {
        // Best effort: the error that counts is that of the rename.
        let _ = std::fs::remove_file(&temporary);
    })
}
