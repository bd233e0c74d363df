//! Where a command gets its rules from: a folder, or the control plane that the environment names.

use std::path::PathBuf;

use mesh_core::cluster::IstioName;
use mesh_tower::{Builder, Mesh, Node, RulesFrom};

use crate::failure::{Failure, readable};

/// Who the command is, and by which rules it goes.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)] // flattened beside the command's own arguments
pub(crate) struct Args {
    /// A folder of rules, used without a control plane. Without it: GRPC_XDS_BOOTSTRAP (a file) or
    /// GRPC_XDS_BOOTSTRAP_CONFIG (inline JSON), else the folder that MESH_CONFIG names.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// The namespace of the caller. Needs a folder: a bootstrap says it itself.
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// A label of the caller, for sourceLabels. Needs a folder.
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Makes every choice of routes and endpoints repeatable. Needs a folder.
    #[arg(long)]
    seed: Option<u64>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is written key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A mesh by the environment.
pub(crate) async fn from_env() -> Result<Mesh, Failure> {
    Mesh::from_env()
        .await
        .map_err(|error| Failure::Setup(error.to_string()))
}

impl Args {
    /// The mesh that these arguments ask for.
    pub(crate) async fn mesh(self) -> Result<Mesh, Failure> {
        let Some(dir) = self.folder()? else {
            return from_env().await;
        };
        readable(&dir)?;
        // The same text as `apply` and the control plane print, not wrapped in another sentence.
        mesh_istio::Config::load(&dir)?;
        self.built(Mesh::builder().yaml(dir), "--config")
    }

    /// The services of the folder, as `host:port`, that a host may have meant: itself, what it is short for, or its
    /// namesake in another namespace. None where there is no folder.
    pub(crate) fn services_like(&self, host: &str) -> Result<Vec<String>, Failure> {
        let Some(dir) = self.folder()? else {
            return Ok(Vec::new());
        };
        readable(&dir)?;
        let loaded = mesh_istio::Config::load(&dir)?;
        let resources = loaded.config.resources(&self.node());
        let alike = resources.clusters.keys().filter_map(|name| {
            let name = IstioName::parse(name).filter(|name| name.subset.is_none())?;
            is_alike(name.host, host).then(|| format!("{}:{}", name.host, name.port))
        });
        Ok(alike.collect())
    }

    /// The mesh of a control plane's rules.
    pub(crate) fn mesh_of(self, control_plane: &str) -> Result<Mesh, Failure> {
        self.built(Mesh::builder().xds(control_plane), "--xds")
    }

    /// A mesh whose rules are named by a flag.
    fn built(self, builder: Builder, flag: &str) -> Result<Mesh, Failure> {
        let mut builder = builder.node(self.node());
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        builder
            .build()
            .map_err(|error| Failure::Setup(format!("{error} (the rules are named by {flag})")))
    }

    fn node(&self) -> Node {
        let namespace = self.namespace.as_deref().unwrap_or("default");
        Node::sidecar("meshctl", namespace).with_labels(self.labels.clone())
    }

    /// The folder to use, if any: the flag, else the environment's folder unless there is a bootstrap.
    fn folder(&self) -> Result<Option<PathBuf>, Failure> {
        if let Some(dir) = &self.config {
            return Ok(Some(dir.clone()));
        }
        match RulesFrom::env() {
            RulesFrom::Folder(dir) => return Ok(Some(dir)),
            RulesFrom::Nowhere => {
                return Err(Failure::Setup("no rules: name a folder with --config, or a bootstrap file with GRPC_XDS_BOOTSTRAP".to_owned()));
            }
            _ => {}
        }
        if self.namespace.is_some() || !self.labels.is_empty() || self.seed.is_some() {
            let text = "--namespace, --label and --seed need a folder: add --config, or write them into the bootstrap's node";
            return Err(Failure::Setup(text.to_owned()));
        }
        Ok(None)
    }
}

/// Whether who called `host` may have meant the service `known`.
fn is_alike(known: &str, host: &str) -> bool {
    let first = |name: &str| name.split('.').next().map(str::to_ascii_lowercase);
    let is_one_label = !host.contains('.');
    known.eq_ignore_ascii_case(host)
        || first(known) == first(host) && (is_one_label || known.contains(".svc."))
}
