//! `istioctl analyze` for the rules of a folder: faults, what has no effect, and what objects say about each other.
//!
//! The codes and their levels are Istio's (`pkg/config/analysis/msg/messages.yaml` of Istio 1.30), so that what is
//! written about them helps here too. Seven are ours, for what Istio has no code for: `MESH0001` to `MESH0007`.
//!
//! A rule is judged as it stands in its file: a finding then has a line and a field, and one object that is wrong does
//! not hide what is wrong about the others. What lies outside of the files is not known: a name that is defined
//! nowhere in them counts as missing.

mod code;
mod destination_rule;
mod finding;
mod gateway;
mod mesh;
mod node;
mod overlap;
mod security;
mod service;
mod sidecar;
mod virtual_service;
mod workload;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::config::{Options, Parsed, Tree};
use crate::diagnostic::{Diagnostic, Rejected, Severity};
use crate::folder;
use crate::kinds::Spec;
use crate::kinds::mesh_config::MeshConfig;
use crate::registry::Registry;

pub use finding::{Finding, Level};

use code::Code;
use finding::Report;
use mesh::Mesh;

/// What is to be looked at as one configuration: texts, files and folders.
#[derive(Debug, Default)]
pub struct Analysis {
    texts: BTreeMap<PathBuf, String>,
    diagnostics: Vec<Diagnostic>,
    options: Options,
}

impl Analysis {
    /// One of a mesh that has this besides its files: what it lacks is refused.
    pub fn of(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Adds a text that is in memory already; the path is used in findings only.
    pub fn text(&mut self, file: impl Into<PathBuf>, text: impl Into<String>) {
        self.texts.insert(file.into(), text.into());
    }

    /// Adds a file of any name, or a folder as [`Config::load`](crate::Config::load) reads it. What cannot be read is
    /// a finding.
    pub fn path(&mut self, path: &Path) {
        let content = match path.is_dir() {
            true => folder::read(path),
            false => folder::file(path),
        };
        match content {
            Ok(mut content) => {
                self.texts.append(&mut content.texts);
                self.diagnostics.append(&mut content.notes);
            }
            Err(Rejected { mut diagnostics }) => self.diagnostics.append(&mut diagnostics),
        }
    }

    /// Everything that was found, the worst first, then in the order of files and lines.
    pub fn findings(self) -> Vec<Finding> {
        self.judged().0
    }

    /// The same, and how many objects were looked at: of none nothing is found.
    pub fn judged(self) -> (Vec<Finding>, usize) {
        let Self {
            texts,
            mut diagnostics,
            options,
        } = self;
        let mut parsed = Parsed::with_trees(options);
        for (file, text) in &texts {
            parsed.file(file, text);
        }
        let trees = parsed.trees.take().unwrap_or_default();
        let config = parsed.specs.iter().find_map(|(_, _, spec)| match spec {
            Spec::MeshConfig(mesh) => Some((**mesh).clone()),
            _ => None,
        });
        let mut findings = judge(&trees, &config.unwrap_or_default());
        if parsed.errors.is_empty() {
            // What all objects together tell is known only where none of them is wrong.
            diagnostics.append(&mut Registry::build(parsed.specs, options).notes);
        }
        diagnostics.append(&mut parsed.errors);
        diagnostics.append(&mut parsed.notes);
        add(diagnostics, &mut findings);
        findings.sort_by(|a, b| a.order().cmp(&b.order()));
        findings.dedup();
        (findings, trees.len())
    }
}

/// The findings about texts that are in memory; the paths are used in messages only.
///
/// ```
/// let text = "
/// apiVersion: networking.istio.io/v1
/// kind: VirtualService
/// metadata: { name: reviews, namespace: default }
/// spec:
///   hosts: [reviews]
///   http: [ { route: [ { destination: { host: reviews } } ] } ]
/// ";
/// let findings = mesh_istio::analyze([("reviews.yaml".into(), text.to_owned())]);
/// assert_eq!(findings[0].code, "IST0101"); // the host is defined nowhere
/// assert_eq!(findings[0].path, "spec.http[0].route[0].destination.host");
/// ```
pub fn analyze(files: impl IntoIterator<Item = (PathBuf, String)>) -> Vec<Finding> {
    let mut analysis = Analysis::default();
    for (file, text) in files {
        analysis.text(file, text);
    }
    analysis.findings()
}

/// What the objects say about each other.
fn judge(trees: &[Tree], config: &MeshConfig) -> Vec<Finding> {
    let mesh = Mesh::of(trees, config);
    let mut report = Report::default();
    virtual_service::hosts(&mesh, &mut report);
    for tree in mesh.virtual_services() {
        virtual_service::references(tree, &mesh, &mut report);
        virtual_service::short_hosts(tree, &mesh, &mut report);
        overlap::routes(tree, &mut report);
    }
    destination_rule::judge(&mesh, &mut report);
    gateway::judge(&mesh, &mut report);
    service::judge(&mesh, &mut report);
    sidecar::judge(&mesh, &mut report);
    security::judge(&mesh, &mut report);
    workload::judge(&mesh, &mut report);
    report.findings
}

/// Faults and notes as findings, but for a note where a finding says more.
fn add(diagnostics: Vec<Diagnostic>, findings: &mut Vec<Finding>) {
    let place = |f: &Finding| (f.file.clone(), f.line, f.column);
    let known: HashSet<_> = findings.iter().map(place).collect();
    for diagnostic in diagnostics {
        let code = match diagnostic.severity {
            Severity::Error => Code::SCHEMA,
            Severity::NotSupported => Code::NOT_SUPPORTED,
        };
        let finding = Finding::from_diagnostic(code, diagnostic);
        if code.level == Level::Error || !known.contains(&place(&finding)) {
            findings.push(finding);
        }
    }
}
