//! The objects of all files by what others name them by.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::config::Tree;
use crate::host;
use crate::kinds::ExportTo;
use crate::kinds::mesh_config::MeshConfig;

use super::node::Node;

/// A host that calls can go to.
#[derive(Debug)]
pub(super) struct Service<'a> {
    pub(super) tree: &'a Tree,
    export_to: ExportTo,
    /// None: the host has them from elsewhere (`ExternalName`).
    pub(super) ports: Vec<u32>,
}

/// What a `DestinationRule` says, with its host in full.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    pub(super) tree: &'a Tree,
    pub(super) host: String,
    pub(super) subsets: BTreeSet<&'a str>,
}

/// All objects.
#[derive(Debug)]
pub(super) struct Mesh<'a> {
    pub(super) trees: &'a [Tree],
    pub(super) config: &'a MeshConfig,
    services: HashMap<String, Vec<Service<'a>>>,
    /// Hosts that begin with `*`.
    wildcards: Vec<String>,
    pub(super) rules: Vec<Rule<'a>>,
    /// Positions in `rules` by host.
    by_host: BTreeMap<String, Vec<usize>>,
    /// By namespace and name.
    pub(super) gateways: BTreeMap<String, &'a Tree>,
    /// `VirtualService`s without hosts, by namespace and name.
    pub(super) delegates: BTreeMap<String, &'a Tree>,
}

const NETWORKING: &str = "networking.istio.io";

impl<'a> Mesh<'a> {
    pub(super) fn of(trees: &'a [Tree], config: &'a MeshConfig) -> Self {
        let mut this = Self {
            trees,
            config,
            services: HashMap::new(),
            wildcards: Vec::new(),
            rules: Vec::new(),
            by_host: BTreeMap::new(),
            gateways: BTreeMap::new(),
            delegates: BTreeMap::new(),
        };
        for tree in trees {
            let header = &tree.header;
            let id = format!("{}/{}", header.namespace, header.name);
            match (header.group(), header.kind.as_str()) {
                (NETWORKING, "ServiceEntry") => this.service_entry(tree),
                ("", "Service") => this.service(tree),
                (NETWORKING, "DestinationRule") => this.rule(tree),
                (NETWORKING, "Gateway") => {
                    this.gateways.insert(id, tree);
                }
                (NETWORKING, "VirtualService") if Node::spec(tree).items("hosts").is_empty() => {
                    this.delegates.insert(id, tree);
                }
                _ => {}
            }
        }
        this.wildcards = this.services.keys().cloned().collect();
        this.wildcards.retain(|host| host.starts_with('*'));
        this.wildcards.sort();
        this
    }

    /// The objects of a kind of `networking.istio.io`.
    pub(super) fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &'a Tree> {
        let wanted = move |t: &&Tree| t.header.group() == NETWORKING && t.header.kind == kind;
        self.trees.iter().filter(wanted)
    }

    pub(super) fn virtual_services(&self) -> impl Iterator<Item = &'a Tree> {
        self.of_kind("VirtualService")
    }

    fn service_entry(&mut self, tree: &'a Tree) {
        let spec = Node::spec(tree);
        let port = |port: &Node<'_>| port.get("number")?.number();
        let ports: Vec<u32> = spec.items("ports").iter().filter_map(port).collect();
        for host in spec.strings("hosts") {
            let export_to = exports(&spec);
            self.add(host.to_ascii_lowercase(), tree, export_to, ports.clone());
        }
    }

    fn service(&mut self, tree: &'a Tree) {
        let spec = Node::spec(tree);
        let port = |port: &Node<'_>| port.get("port")?.number();
        let ports = match spec.string("type") {
            "ExternalName" => Vec::new(),
            _ => spec.items("ports").iter().filter_map(port).collect(),
        };
        let annotations = tree.root.get("metadata").and_then(|m| m.get("annotations"));
        let said = annotations.and_then(|a| a.get("networking.istio.io/exportTo"));
        let export_to = ExportTo::of(said.and_then(|v| v.as_str()).unwrap_or_default());
        let host = host::resolve(&tree.header.name, &tree.header.namespace);
        self.add(host, tree, export_to, ports);
    }

    fn add(&mut self, host: String, tree: &'a Tree, mut export_to: ExportTo, ports: Vec<u32>) {
        export_to.or(&self.config.export.services);
        self.services.entry(host).or_default().push(Service {
            tree,
            export_to,
            ports,
        });
    }

    fn rule(&mut self, tree: &'a Tree) {
        let spec = Node::spec(tree);
        let host = spec.string("host").to_ascii_lowercase();
        if host.is_empty() {
            return;
        }
        let host = host::resolve(&host, &tree.header.namespace);
        let named = |subset: &Node<'a>| subset.get("name")?.text();
        let subsets = spec.items("subsets").iter().filter_map(named).collect();
        let rules = self.by_host.entry(host.clone()).or_default();
        rules.push(self.rules.len());
        self.rules.push(Rule {
            tree,
            host,
            subsets,
        });
    }

    /// The services of a full host: those of that name, else those of the narrowest pattern that covers it.
    pub(super) fn services(&self, host: &str) -> &[Service<'a>] {
        let exact = self.services.get(host);
        let found = exact.or_else(|| {
            let covering = self.wildcards.iter().filter(|w| host::covers(w, host));
            self.services.get(covering.max_by_key(|w| w.len())?)
        });
        found.map_or(&[], Vec::as_slice)
    }

    /// The services of other namespaces with the same first label and the same domain.
    pub(super) fn namesakes(&self, host: &str) -> Vec<&str> {
        let parts = |host: &str| -> Option<(String, String)> {
            let (name, rest) = host.split_once('.')?;
            Some((name.to_owned(), rest.split_once('.')?.1.to_owned()))
        };
        let wanted = parts(host);
        let all = self.services.keys().map(String::as_str);
        let mut found: Vec<&str> = all
            .filter(|other| wanted.is_some() && parts(other) == wanted)
            .collect();
        found.sort_unstable();
        found
    }

    /// Whether a pattern covers any service.
    pub(super) fn covers_any(&self, pattern: &str) -> bool {
        let mut hosts = self.services.keys();
        hosts.any(|host| host::intersection(pattern, host).is_some())
    }

    /// The rules of a full host: those of that name, else those of the narrowest pattern that covers it.
    pub(super) fn rules(&self, host: &str) -> Vec<&Rule<'a>> {
        let at = self.by_host.get(host).or_else(|| {
            let patterns = self.by_host.iter().filter(|(p, _)| p.starts_with('*'));
            let covering = patterns.filter(|(pattern, _)| host::covers(pattern, host));
            Some(covering.max_by_key(|(pattern, _)| pattern.len())?.1)
        });
        let at = at.map_or(&[][..], Vec::as_slice).iter();
        at.filter_map(|at| self.rules.get(*at)).collect()
    }
}

impl Service<'_> {
    pub(super) fn visible(&self, namespace: &str) -> bool {
        let own = &self.tree.header.namespace;
        self.export_to.visible(own, namespace)
    }
}

/// `spec.exportTo`, as far as it is one.
pub(super) fn exports(spec: &Node<'_>) -> ExportTo {
    ExportTo::of(&spec.strings("exportTo").join(","))
}
