//! One object of a folder: a document with `apiVersion`, `kind` and `metadata`.

use std::path::PathBuf;

/// A document of the folder, for listing and for telling where something came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `apiVersion`, such as `networking.istio.io/v1`.
    pub api_version: String,
    /// `kind`, such as `VirtualService`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; `default` where the document says none.
    pub namespace: String,
    /// The file that holds it.
    pub file: PathBuf,
    /// The line at which its `apiVersion` or `kind` stands, from 1.
    pub line: u64,
    /// The document as it stands in the file, without the `---` line.
    pub yaml: String,
}

impl Object {
    /// The group in `apiVersion`, such as `networking.istio.io`; empty for the kinds of Kubernetes' core.
    pub fn group(&self) -> &str {
        group(&self.api_version)
    }

    /// `Kind namespace/name`.
    pub fn id(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What stands before the version in `apiVersion`.
pub(crate) fn group(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}
