//! Editing a folder as `kubectl apply` and `kubectl delete` edit a cluster: whole documents, by kind and name.
//!
//! Edits are textual, so comments and the other documents of a file stay as they are. A file is written beside its
//! place and renamed into it: a reader sees the old or the new text, never half of one.

mod folder;
mod write;

use std::path::{Path, PathBuf};

use crate::config::Options;
use crate::decode::Sink;
use crate::diagnostic::Rejected;
use crate::edit::folder::Folder;
use crate::kinds::header::{self, Header};
use crate::yaml::{self, Chunk, Data};

/// How often an edit starts over.
const TRIES: u32 = 20;

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
    /// The group in `apiVersion`, such as `networking.istio.io`; empty for the kinds of Kubernetes' core.
    pub group: String,
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
/// A file keeps its mode and its line ends, and a link stays one: its target is written. Several of these at once
/// wait for each other.
///
/// # Errors
/// When the text, or the folder as it would be, is wrong: then nothing is written. When a file cannot be written.
pub fn apply(dir: &Path, text: &str, source_name: &Path) -> Result<Vec<Applied>, Rejected> {
    apply_to(dir, text, source_name, Options::default())
}

impl Options {
    /// [`apply`] to the folder of a mesh that has this.
    ///
    /// # Errors
    /// As there.
    pub fn apply(
        self,
        dir: &Path,
        text: &str,
        source_name: &Path,
    ) -> Result<Vec<Applied>, Rejected> {
        apply_to(dir, text, source_name, self)
    }
}

fn apply_to(
    dir: &Path,
    text: &str,
    source_name: &Path,
    options: Options,
) -> Result<Vec<Applied>, Rejected> {
    options.parse([(source_name.to_owned(), text.to_owned())])?;
    let mut objects = Vec::new();
    for (header, body) in documents(text, source_name)? {
        let body = with_namespace(&header, body, source_name)?;
        objects.push((header, body));
    }
    edit(dir, |folder| {
        let applied = objects.iter().map(|(header, body)| {
            let (file, action) = folder.put(dir, header, body);
            outcome(header, file, action)
        });
        let applied = applied.collect();
        options.parse(folder.texts())?;
        Ok(applied)
    })
}

/// Removes the objects of `text` from the folder; only their kinds and names count. A file without documents goes.
///
/// # Errors
/// When the text does not name objects, or the folder cannot be read or written.
pub fn delete(dir: &Path, text: &str, source_name: &Path) -> Result<Vec<Applied>, Rejected> {
    let objects = documents(text, source_name)?;
    edit(dir, |folder| {
        let applied = objects.iter().map(|(header, _)| {
            let (file, action) = folder.remove(header).map_or_else(
                || (dir.to_owned(), Action::NotFound),
                |f| (f, Action::Deleted),
            );
            outcome(header, file, action)
        });
        Ok(applied.collect())
    })
}

/// Reads the folder, changes it and writes it, as if alone: others of this kind wait, and where anyone else changed
/// the same files meanwhile, it starts over.
fn edit(
    dir: &Path,
    mut change: impl FnMut(&mut Folder) -> Result<Vec<Applied>, Rejected>,
) -> Result<Vec<Applied>, Rejected> {
    let _lock = write::lock(dir);
    for _ in 0..TRIES {
        let mut folder = Folder::read(dir)?;
        let applied = change(&mut folder)?;
        if folder.write()? {
            return Ok(applied);
        }
    }
    let message =
        format!("others changed the same files {TRIES} times while they were edited; try again");
    Err(Rejected::file(dir, message))
}

fn outcome(header: &Header, file: PathBuf, action: Action) -> Applied {
    Applied {
        group: header.group().to_owned(),
        kind: header.kind.clone(),
        namespace: header.namespace.clone(),
        name: header.name.clone(),
        file,
        action,
    }
}

/// The objects of a text: which they are, and their documents without the `---` line.
fn documents(text: &str, source: &Path) -> Result<Vec<(Header, Body)>, Rejected> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sink = Sink::new(source, Options::default());
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
        let line = format!(
            "namespace: {namespace}{}{}",
            line_end(&text).unwrap_or("\n"),
            " ".repeat(column)
        );
        text.insert_str(at, &line);
    }
    // Proof that the edit did what it should, whatever the form of the text.
    let again = documents(&text, source).map_err(|_| failed())?;
    let good =
        matches!(&again[..], [(found, _)] if found.has_namespace && found.key() == header.key());
    if good { Ok(text) } else { Err(failed()) }
}

/// How the first line of a text ends.
fn line_end(text: &str) -> Option<&'static str> {
    let at = text.find('\n')?;
    Some(if text[..at].ends_with('\r') {
        "\r\n"
    } else {
        "\n"
    })
}
