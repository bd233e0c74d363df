//! The whole configuration of a folder, checked.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use mesh_xds::{Dialect, Node, NodeType, Resources};

use crate::compile;
use crate::decode::Sink;
use crate::diagnostic::{Diagnostic, Rejected};
use crate::folder::{self, Content};
use crate::kinds::header::{self, Header};
use crate::kinds::{self, Spec, mesh_config};
use crate::object::Object;
use crate::registry::{Own, Registry, Unselected};
use crate::yaml;

/// What a mesh has besides the objects of its folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    certificates: bool,
}

impl Options {
    /// Whether workloads have certificates of the mesh, from an authority or in files: without them (the default) a
    /// folder that demands mutual TLS is rejected, endpoints are called in plaintext, and servers take plaintext. With
    /// them endpoints and servers are what istiod makes of `PeerAuthentication` and `DestinationRule`.
    #[must_use]
    pub const fn certificates(mut self, certificates: bool) -> Self {
        self.certificates = certificates;
        self
    }

    pub(crate) const fn has_certificates(self) -> bool {
        self.certificates
    }

    /// [`Config::load`] for a mesh that has this.
    ///
    /// # Errors
    /// As there.
    pub fn load(self, dir: &Path) -> Result<Loaded, Rejected> {
        self.of(folder::read(dir)?)
    }

    /// [`Config::parse`] for a mesh that has this.
    ///
    /// # Errors
    /// As there.
    pub fn parse(
        self,
        files: impl IntoIterator<Item = (PathBuf, String)>,
    ) -> Result<Loaded, Rejected> {
        let mut parsed = Parsed {
            options: self,
            ..Parsed::default()
        };
        for (file, text) in files {
            parsed.file(&file, &text);
        }
        parsed.loaded()
    }

    /// What a folder was found to hold, checked.
    pub(crate) fn of(self, content: Content) -> Result<Loaded, Rejected> {
        let mut loaded = self.parse(content.texts)?;
        loaded.notes.splice(..0, content.notes);
        Ok(loaded)
    }
}

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
    /// What has such a name and is no regular file, such as a named pipe, is passed over with a note.
    ///
    /// # Errors
    /// When the folder cannot be read, changes faster than it can be read, or any document of it is wrong; every
    /// fault is listed.
    pub fn load(dir: &Path) -> Result<Loaded, Rejected> {
        Options::default().load(dir)
    }

    /// The same from texts that are already in memory; the paths are used in messages only.
    ///
    /// # Errors
    /// When any document is wrong; every fault is listed.
    pub fn parse(files: impl IntoIterator<Item = (PathBuf, String)>) -> Result<Loaded, Rejected> {
        Options::default().parse(files)
    }

    /// The clusters, endpoints and routes that istiod would send to this node, in the dialect that it asks for.
    pub fn resources(&self, node: &Node) -> Resources {
        compile::resources(&self.inner.registry, node)
    }

    /// The listeners that istiod would send to this node, by name: in the [`Dialect::Grpc`](crate::Dialect) one for
    /// each name and port (`reviews:9080`) by which its namespace can call a service, and one for each port that the
    /// workload at its address serves (`xds.istio.io/grpc/lds/inbound/0.0.0.0:9080`), bound to all addresses or to the
    /// loopback one; for a sidecar `virtualInbound`, which says what its servers take, if workloads have certificates or the
    /// folder an object of `security.istio.io`; else none; for a router one for each port of the `Gateway`s that select it
    /// (`0.0.0.0_8080`).
    pub fn listeners(&self, node: &Node) -> BTreeMap<String, Any> {
        compile::listeners(&self.inner.registry, node)
    }

    /// The workload at a node's address. Two nodes of one dialect, type, namespace, place and labels have the same
    /// resources if this is the same.
    pub fn own(&self, node: &Node) -> Own {
        match (node.dialect(), node.node_type) {
            (Dialect::Sidecar, NodeType::Sidecar | NodeType::Router)
                if self.inner.registry.is_secured() =>
            {
                self.inner.registry.own(node)
            }
            (Dialect::Grpc, _) => self.inner.registry.own(node),
            _ => Own::default(),
        }
    }

    /// The objects of `security.istio.io`, and the `Sidecar`s, that say by labels whom they are for, where nothing tells
    /// those of this node: it has no `LABELS`, and there is no `WorkloadEntry` of its name and namespace. `None` where there
    /// are no such objects, or its labels are known.
    pub fn unselected(&self, node: &Node) -> Option<Unselected> {
        let unselected = self.inner.registry.unselected(node)?;
        let is_its = |object: &&Object| {
            object.kind == "WorkloadEntry"
                && object.name == node.name
                && object.namespace == node.namespace
        };
        let entry = self.objects().find(is_its);
        entry.is_none().then_some(unselected)
    }

    /// Every object of the folder, in the order of files and lines, served or not.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.inner.objects.iter()
    }
}

/// What makes two documents the same object: group, kind, namespace, name.
type Key = (String, String, String, String);

/// An object as it stands in its file.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) file: PathBuf,
    pub(crate) header: Header,
    pub(crate) root: yaml::Value,
}

/// Collects documents.
#[derive(Default)]
pub(crate) struct Parsed {
    objects: Vec<Object>,
    pub(crate) specs: Vec<(String, String, Spec)>,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) notes: Vec<Diagnostic>,
    /// The objects whose header could be read, wrong ones included; nothing where no one asked for them.
    pub(crate) trees: Option<Vec<Tree>>,
    options: Options,
    /// The header of the document that is being read, if its tree is to be kept.
    header: Option<Header>,
    /// Where each object was first seen.
    seen: HashMap<Key, String>,
}

impl Parsed {
    /// One that keeps the trees of the objects.
    pub(crate) fn with_trees(options: Options) -> Self {
        Self {
            options,
            trees: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// All documents as one configuration.
    fn loaded(self) -> Result<Loaded, Rejected> {
        let Self {
            objects,
            specs,
            errors,
            mut notes,
            options,
            ..
        } = self;
        if !errors.is_empty() {
            return Err(Rejected {
                diagnostics: errors,
            });
        }
        let mut registry = Registry::build(specs, options);
        notes.append(&mut registry.notes);
        Ok(Loaded {
            config: Config {
                inner: Arc::new(Inner { objects, registry }),
            },
            notes,
        })
    }

    pub(crate) fn file(&mut self, file: &Path, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for chunk in yaml::split(text) {
            if !chunk.is_blank() {
                let mut sink = Sink::new(file, self.options);
                match yaml::parse(&chunk) {
                    Ok(document) => {
                        self.document(file, &chunk, &document, &mut sink);
                        sink.locate(&document);
                        self.keep(file, document);
                    }
                    Err(error) => sink.error(error.at, format!("invalid YAML: {}", error.message)),
                }
                sink.errors.sort_by_key(|e| (e.line, e.column));
                self.errors.append(&mut sink.errors);
                self.notes.append(&mut sink.notes);
            }
        }
    }

    /// The tree of an object that was not seen before, for who asked for it.
    fn keep(&mut self, file: &Path, root: yaml::Value) {
        if let (Some(header), Some(trees)) = (self.header.take(), &mut self.trees) {
            let file = file.to_owned();
            trees.push(Tree { file, header, root });
        }
    }

    fn document(
        &mut self,
        file: &Path,
        chunk: &yaml::Chunk<'_>,
        document: &yaml::Value,
        sink: &mut Sink,
    ) {
        if document.data == yaml::Data::Null {
            return;
        }
        let plain = mesh_config::is_plain(file, document);
        let header = if plain {
            Header::of_mesh(document.at)
        } else if let Some(header) = header::decode(document, sink) {
            header
        } else {
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
            self.header = self.trees.is_some().then(|| header.clone());
        }
        let spec = if plain {
            mesh_config::decode(document, "mesh", sink).map(|mesh| Spec::MeshConfig(Box::new(mesh)))
        } else {
            kinds::decode(&header, document, sink)
        };
        let Some(spec) = spec else {
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
