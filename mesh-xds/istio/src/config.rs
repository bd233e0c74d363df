//! The whole configuration of a folder, checked.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_xds::{Node, Resources};

use crate::compile;
use crate::decode::Sink;
use crate::diagnostic::{Diagnostic, Rejected};
use crate::kinds::{self, Spec, header};
use crate::object::Object;
use crate::registry::Registry;
use crate::yaml;

/// Folders within folders are read to this depth.
const MAX_FOLDERS: usize = 16;

/// All objects of a folder, checked and ready to be compiled for any node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Config {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: Vec<Object>,
    registry: Registry,
}

/// An accepted folder.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The rules.
    pub config: Config,
    /// What was accepted but has no effect in this version, with file and line.
    pub notes: Vec<Diagnostic>,
}

impl Config {
    /// Reads every `*.yaml` and `*.yml` of a folder and of its subfolders; names that start with `.` are passed over.
    ///
    /// # Errors
    /// When the folder cannot be read, or any document of it is wrong; every fault is listed.
    pub fn load(dir: &Path) -> Result<Loaded, Rejected> {
        Self::parse(read_folder(dir)?)
    }

    /// The same from texts that are already in memory; the paths are used in messages only.
    ///
    /// # Errors
    /// When any document is wrong; every fault is listed.
    pub fn parse(files: impl IntoIterator<Item = (PathBuf, String)>) -> Result<Loaded, Rejected> {
        let mut parsed = Parsed::default();
        for (file, text) in files {
            parsed.file(&file, &text);
        }
        let Parsed {
            objects,
            specs,
            errors,
            notes,
            ..
        } = parsed;
        if !errors.is_empty() {
            return Err(Rejected {
                diagnostics: errors,
            });
        }
        let registry = Registry::build(specs);
        Ok(Loaded {
            config: Self {
                inner: Arc::new(Inner { objects, registry }),
            },
            notes,
        })
    }

    /// The clusters, endpoints and routes that istiod would send to this node.
    pub fn resources(&self, node: &Node) -> Resources {
        compile::resources(&self.inner.registry, node)
    }

    /// Every object of the folder, in the order of files and lines, served or not.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.inner.objects.iter()
    }
}

/// What makes two documents the same object: group, kind, namespace, name.
type Key = (String, String, String, String);

/// Collects documents.
#[derive(Default)]
struct Parsed {
    objects: Vec<Object>,
    specs: Vec<(String, String, Spec)>,
    errors: Vec<Diagnostic>,
    notes: Vec<Diagnostic>,
    /// Where each object was first seen.
    seen: HashMap<Key, String>,
}

impl Parsed {
    fn file(&mut self, file: &Path, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for chunk in yaml::split(text) {
            if !chunk.is_blank() {
                let mut sink = Sink::new(file);
                self.document(file, &chunk, &mut sink);
                sink.errors.sort_by_key(|e| (e.line, e.column));
                self.errors.append(&mut sink.errors);
                self.notes.append(&mut sink.notes);
            }
        }
    }

    fn document(&mut self, file: &Path, chunk: &yaml::Chunk<'_>, sink: &mut Sink) {
        let document = match yaml::parse(chunk) {
            Ok(document) => document,
            Err(error) => return sink.error(error.at, format!("invalid YAML: {}", error.message)),
        };
        if document.data == yaml::Data::Null {
            return;
        }
        let Some(header) = header::decode(&document, sink) else {
            return;
        };
        let place = format!("{}:{}", file.display(), header.at.line);
        if let Some(first) = self.seen.get(&header.key()) {
            sink.error(
                header.at,
                format!("the same object stands in {first}; remove one of the two"),
            );
        } else {
            self.seen.insert(header.key(), place);
        }
        let Some(spec) = kinds::decode(&header, &document, sink) else {
            return;
        };
        self.objects.push(Object {
            api_version: header.api_version.clone(),
            kind: header.kind.clone(),
            name: header.name.clone(),
            namespace: header.namespace.clone(),
            file: file.to_owned(),
            line: header.at.line,
            yaml: chunk.body().0.to_owned(),
        });
        self.specs.push((header.namespace, header.name, spec));
    }
}

/// The texts of a folder by path.
pub(crate) fn read_folder(dir: &Path) -> Result<BTreeMap<PathBuf, String>, Rejected> {
    let mut files = BTreeMap::new();
    let mut failed = Vec::new();
    collect(dir, MAX_FOLDERS, &mut files, &mut failed);
    if failed.is_empty() {
        Ok(files)
    } else {
        Err(Rejected {
            diagnostics: failed,
        })
    }
}

fn collect(
    dir: &Path,
    depth: usize,
    files: &mut BTreeMap<PathBuf, String>,
    failed: &mut Vec<Diagnostic>,
) {
    let mut fail = |path: &Path, error: &std::io::Error| {
        failed.extend(Rejected::file(path, format!("cannot be read: {error}")).diagnostics);
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return fail(dir, &error),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return fail(dir, &error),
        };
        let path = entry.path();
        // Hidden names are temporary files of editors and of ours, and the links of mounted config maps.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Links to folders are not followed: they could form a circle.
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            folders.push(path);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    files.insert(path, text);
                }
                // Removed since the folder was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => fail(&path, &error),
            }
        }
    }
    if depth > 0 {
        for folder in folders {
            collect(&folder, depth - 1, files, failed);
        }
    }
}
