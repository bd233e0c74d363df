//! One folder of Istio's YAML, and the nodes that ask for it.
//!
//! A case is `cases/NAME/`: its YAML files beside those of `base/` (a file of the same name takes the place of the
//! base's), and optionally `nodes`, a line for each node: `sidecar|grpc|router NAMESPACE NAME LABEL=VALUE,...
//! [REGION/ZONE/SUBZONE] [@ADDRESS]`. A node at the address of a workload is that workload, and has its inbound listener.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use envoy_types::pb::google::protobuf::{Value, value};
use mesh_xds::{Node, NodeLocality};
use tempfile::TempDir;

use crate::failure::{Doing, Failure, Result};
use crate::istiod::{Istiod, Refused};

const HERE: &str = env!("CARGO_MANIFEST_DIR");
/// The file that is a document of the folder to us and a file of its own to istiod.
const MESH: &str = "mesh.yaml";
const NODES: &str = "sidecar default client app=client\ngrpc default client app=client\n";

/// A node and the shape of configuration that it asks for.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) node: Node,
    pub(crate) shape: Shape,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A workload, as an Envoy.
    Sidecar,
    /// A workload, as gRPC's own client.
    Grpc,
    /// A gateway.
    Router,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sidecar => "sidecar",
            Self::Grpc => "grpc",
            Self::Router => "router",
        })
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}.{}",
            self.shape, self.node.name, self.node.namespace
        )
    }
}

/// The files of a case by name.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    files: BTreeMap<String, PathBuf>,
    pub(crate) clients: Vec<Client>,
}

/// All cases, in order: the folders of `cases/`, then Bookinfo with each of its tasks.
pub(crate) fn all() -> Result<Vec<Case>> {
    let here = Path::new(HERE);
    let base = yaml_files(&here.join("base"))?;
    let mut cases = Vec::new();
    for folder in sorted(&here.join("cases"))? {
        let mut files = base.clone();
        files.extend(yaml_files(&folder)?);
        let nodes = std::fs::read_to_string(folder.join("nodes"));
        cases.push(Case {
            name: file_name(&folder),
            files,
            clients: clients(&nodes.unwrap_or_else(|_| NODES.to_owned()))?,
        });
    }
    let bookinfo = here.join("../../../bookinfo-rs");
    let config = yaml_files(&bookinfo.join("config"))?;
    let tasks = sorted(&bookinfo.join("tasks"))?;
    for task in std::iter::once(None).chain(tasks.into_iter().map(Some)) {
        let mut files = config.clone();
        // The launcher writes these as it starts the services.
        files.extend(yaml_files(&here.join("bookinfo"))?);
        let mut name = "bookinfo".to_owned();
        if let Some(task) = task {
            name = format!("bookinfo+{}", file_name(&task).trim_end_matches(".yaml"));
            files.insert(file_name(&task), task);
        }
        let clients = clients(
            "sidecar default productpage-v1 app=productpage,version=v1\n\
             grpc default productpage-v1 app=productpage,version=v1\n\
             router istio-system ingress istio=ingressgateway\n\
             router istio-system egress istio=egressgateway\n",
        )?;
        cases.push(Case {
            name,
            files,
            clients,
        });
    }
    Ok(cases)
}

impl Case {
    /// The case's files in a folder of their own, as `mesh-istio` reads them.
    pub(crate) fn folder(&self) -> Result<TempDir> {
        let folder = tempfile::tempdir().doing("a temporary folder")?;
        for (name, path) in &self.files {
            std::fs::copy(path, folder.path().join(name)).doing(&path.display().to_string())?;
        }
        Ok(folder)
    }

    /// An istiod that reads the same files, its own in `scratch`.
    pub(crate) fn istiod(&self, scratch: &Path) -> Result<std::result::Result<Istiod, Refused>> {
        let config = scratch.join("config");
        std::fs::create_dir(&config).doing("a temporary folder")?;
        for (name, path) in self.files.iter().filter(|(name, _)| *name != MESH) {
            std::fs::copy(path, config.join(name)).doing(&path.display().to_string())?;
        }
        let mesh = scratch.join("mesh.json");
        std::fs::write(&mesh, self.mesh_config()?.to_string()).doing("MeshConfig")?;
        Istiod::start(&config, &mesh, &scratch.join("state"))
    }

    /// `spec` of the document, with what every istiod of ours is told.
    fn mesh_config(&self) -> Result<serde_json::Value> {
        let read = |path: &Path| -> Result<serde_json::Value> {
            let text = std::fs::read_to_string(path).doing(&path.display().to_string())?;
            serde_saphyr::from_str(&text).doing(&path.display().to_string())
        };
        let mut mesh = read(&Path::new(HERE).join("../mesh.yaml"))?;
        let Some(own) = self.files.get(MESH) else {
            return Ok(mesh);
        };
        let document = read(own)?;
        let spec = document["spec"].as_object();
        let spec = spec.ok_or_else(|| Failure::new(format!("{} has no spec", own.display())))?;
        if let Some(mesh) = mesh.as_object_mut() {
            mesh.extend(spec.clone());
        }
        Ok(mesh)
    }
}

fn clients(text: &str) -> Result<Vec<Client>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(client)
        .collect()
}

fn client(line: &str) -> Result<Client> {
    let wrong = || Failure::new(format!("{line:?} is no line of a file `nodes`"));
    let words: Vec<_> = line.split_whitespace().collect();
    let [shape, namespace, name, labels, rest @ ..] = &words[..] else {
        return Err(wrong());
    };
    let labels: Option<Vec<_>> = labels
        .split(',')
        .map(|label| label.split_once('='))
        .collect();
    let labels = labels.ok_or_else(wrong)?;
    let (shape, mut node) = match *shape {
        "sidecar" => (
            Shape::Sidecar,
            Node::sidecar(*name, *namespace).with_labels(labels),
        ),
        "grpc" => (
            Shape::Grpc,
            Node::sidecar(*name, *namespace).with_labels(labels),
        ),
        "router" => (Shape::Router, Node::router(*name, *namespace, labels)),
        _ => return Err(wrong()),
    };
    // No workload of a case has it: the node would be taken for that workload.
    node = node.with_ip([127, 0, 99, 99].into());
    if shape == Shape::Grpc {
        let kind = Some(value::Kind::StringValue("grpc".to_owned()));
        node.metadata.insert("GENERATOR".to_owned(), Value { kind });
    }
    for address in rest.iter().filter_map(|word| word.strip_prefix('@')) {
        node = node.with_ip(address.parse().map_err(|_| wrong())?);
    }
    if let Some(locality) = rest.iter().find(|word| !word.starts_with('@')) {
        let mut parts = locality.split('/').map(str::to_owned);
        node.locality = NodeLocality {
            region: parts.next().unwrap_or_default(),
            zone: parts.next().unwrap_or_default(),
            sub_zone: parts.next().unwrap_or_default(),
        };
    }
    Ok(Client { node, shape })
}

fn yaml_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let files = sorted(folder)?.into_iter();
    let yaml = files.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    Ok(yaml.map(|path| (file_name(&path), path)).collect())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let what = folder.display().to_string();
    let entries = std::fs::read_dir(folder).doing(&what)?;
    let mut paths = entries
        .map(|entry| Ok(entry.doing(&what)?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
