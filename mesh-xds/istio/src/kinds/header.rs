//! `apiVersion`, `kind` and `metadata`: what every document has (Kubernetes object conventions).

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::{Data, Position, Value};
use crate::{host, object};

/// The namespace of an object that names none, as with `kubectl`.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// Which object a document is.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Where `kind` stands.
    pub(crate) at: Position,
    /// Where the first key of `metadata` stands (file offset), and whether between braces; nothing when one of the
    /// keys is `namespace` already.
    pub(crate) insert_namespace: Option<(usize, bool)>,
    /// Whether `metadata` says a namespace.
    pub(crate) has_namespace: bool,
}

impl Header {
    /// The header of the file `mesh.yaml`, which has none.
    pub(crate) fn of_mesh(at: Position) -> Self {
        Self {
            api_version: "mesh.istio.io/v1alpha1".to_owned(),
            kind: "MeshConfig".to_owned(),
            name: "mesh".to_owned(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            at,
            insert_namespace: None,
            has_namespace: false,
        }
    }

    /// The API group; empty for Kubernetes' core.
    pub(crate) fn group(&self) -> &str {
        object::group(&self.api_version)
    }

    /// The version without the group.
    pub(crate) fn version(&self) -> &str {
        self.api_version
            .rsplit_once('/')
            .map_or(&self.api_version, |(_, version)| version)
    }

    /// What makes two documents the same object.
    pub(crate) fn key(&self) -> (String, String, String, String) {
        let (group, kind) = (self.group().to_owned(), self.kind.clone());
        if kind == "MeshConfig" {
            // There is one of it, whatever it is called.
            return (group, kind, String::new(), String::new());
        }
        (group, kind, self.namespace.clone(), self.name.clone())
    }
}

const DOCUMENT: Schema = Schema {
    served: &["apiVersion", "kind", "metadata", "spec", "status"],
    unserved: &[],
};

/// Fields of metadata that we read, and those that a cluster adds and that mean nothing here.
const METADATA: Schema = Schema {
    served: &[
        "name",
        "namespace",
        "labels",
        "annotations",
        "generateName",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "selfLink",
        "uid",
        "managedFields",
        "ownerReferences",
        "finalizers",
    ],
    unserved: &[],
};

/// Reads the header of a document.
pub(crate) fn decode(document: &Value, sink: &mut Sink) -> Option<Header> {
    let (api_version, kind, at) = type_of(document, sink)?;
    sink.object.clone_from(&kind);
    let routes = api_version.starts_with("gateway.networking.k8s.io/")
        && matches!(kind.as_str(), "HTTPRoute" | "GRPCRoute");
    let istio = api_version.contains(".istio.io/") || routes;
    if istio {
        // Only Istio's own kinds and Gateway API's have nothing beside `spec` at the top.
        Fields::open(document, "the document", DOCUMENT, sink);
    }
    let Some(metadata) = document.get("metadata") else {
        sink.error(at, "metadata is missing; it must give the object's name");
        return None;
    };
    let fields = if istio {
        Fields::open(metadata, "metadata", METADATA, sink)?
    } else {
        Fields::open_loose(metadata, "metadata", sink)?
    };
    let name = fields.string("name", sink);
    let has_namespace = fields.get("namespace").is_some();
    let namespace = fields.string("namespace", sink);
    let namespace = namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let Some(name) = name else {
        if fields.get("name").is_none() {
            sink.error(metadata.at, "metadata.name is missing");
        }
        return None;
    };
    sink.object = format!("{kind} {namespace}/{name}");
    check_names(&fields, &name, &namespace, istio, sink);
    if istio {
        fields.labels("labels", sink);
        fields.labels("annotations", sink);
    }
    Some(Header {
        api_version,
        kind,
        name,
        namespace,
        at,
        insert_namespace: insert_place(metadata),
        has_namespace,
    })
}

/// `apiVersion`, `kind`, and where they stand.
fn type_of(document: &Value, sink: &mut Sink) -> Option<(String, String, Position)> {
    if !matches!(document.data, Data::Map(_)) {
        let found = document.describe();
        sink.error(
            document.at,
            format!("a document must be a mapping with apiVersion, kind, metadata, not {found}"),
        );
        return None;
    }
    let entry = document
        .entry("kind")
        .or_else(|| document.entry("apiVersion"));
    let at = entry.map_or(document.at, |e| e.at);
    let mut text = |key: &str| {
        let found = document
            .get(key)
            .and_then(Value::as_str)
            .filter(|s| !s.is_empty());
        if found.is_none() {
            sink.error(at, format!("{key} is missing or no string"));
        }
        found.map(str::to_owned)
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    Some((api_version?, kind?, at))
}

/// Where a namespace can be written, and whether that is between braces.
fn insert_place(metadata: &Value) -> Option<(usize, bool)> {
    let Data::Map(entries) = &metadata.data else {
        return None;
    };
    if metadata.entry("namespace").is_some() {
        return None;
    }
    let at = entries.first()?.byte?;
    Some((at, metadata.byte != Some(at)))
}

fn check_names(fields: &Fields<'_>, name: &str, namespace: &str, istio: bool, sink: &mut Sink) {
    let lower = |s: &str| !s.bytes().any(|b| b.is_ascii_uppercase());
    let subdomain =
        name.len() <= 253 && lower(name) && name.split('.').all(|p| host::check_label(p).is_ok());
    if istio && !subdomain {
        let at = fields.place("name");
        sink.error(
            at,
            format!("metadata.name may hold lower-case letters, digits, '-' and '.', not {name:?}"),
        );
    }
    if !lower(namespace) || host::check_label(namespace).is_err() {
        let at = fields.place("namespace");
        sink.error(
            at,
            format!(
                "metadata.namespace may hold lower-case letters, digits and '-', not {namespace:?}"
            ),
        );
    }
}
