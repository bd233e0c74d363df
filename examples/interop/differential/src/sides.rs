//! The same node's resources from both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::google::protobuf::Any;
use mesh_istio::Config;
use mesh_xds::{Node, ResourceType};
use prost::Message;

use crate::ads::Ads;
use crate::case::{Client, Shape};
use crate::failure::Result;
use crate::kind::Kind;
use crate::tree::{Protos, Tree};

/// How often istiod is asked again for endpoints that it does not have yet.
const LOOKS: usize = 12;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// The listener that says what a workload's servers take.
const INBOUND: &str = "virtualInbound";

/// Resources by type and name.
pub(crate) type Resources = BTreeMap<(Kind, String), Any>;

/// What `mesh-istio` makes of a folder for a node.
pub(crate) fn ours(config: &Config, client: &Client) -> Resources {
    let compiled = config.resources(&client.node);
    let mut out = Resources::new();
    for (kind, of) in [
        (Kind::Cluster, ResourceType::Cluster),
        (Kind::Endpoints, ResourceType::Endpoints),
        (Kind::Route, ResourceType::Route),
    ] {
        let named = compiled.of(of).iter();
        out.extend(named.map(|(name, any)| ((kind, name.clone()), any.clone())));
    }
    let listeners = config.listeners(&client.node).into_iter();
    out.extend(listeners.map(|(name, any)| ((Kind::Listener, name), any)));
    out
}

/// What istiod sends to a node when it has read all: it answers before it has found every workload, and says no word
/// when it has. The first answer with as many endpoints as ours is taken, else the last one.
pub(crate) async fn settled(
    address: &str,
    client: &Client,
    ours: &Resources,
    protos: &Protos,
) -> Result<Resources> {
    for _ in 0..LOOKS {
        let answer = istiods(address, client, ours, protos).await?;
        if endpoints(&answer, ours) >= endpoints(ours, ours) {
            return Ok(answer);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    istiods(address, client, ours, protos).await
}

/// Whether istiod has no endpoint at all where ours has some.
pub(crate) fn has_lost_all(istiods: &Resources, ours: &Resources) -> bool {
    endpoints(istiods, ours) == 0 && endpoints(ours, ours) > 0
}

/// How many endpoints there are for the clusters that we have.
fn endpoints(of: &Resources, ours: &Resources) -> usize {
    let assignments = of
        .iter()
        .filter(|(key, _)| key.0 == Kind::Endpoints && ours.contains_key(key));
    let decoded =
        assignments.filter_map(|(_, any)| ClusterLoadAssignment::decode(any.value.as_slice()).ok());
    decoded
        .flat_map(|assignment| assignment.endpoints)
        .map(|locality| locality.lb_endpoints.len())
        .sum()
}

/// What istiod sends to a node now: all that an Envoy would ask for, and all that we have.
async fn istiods(
    address: &str,
    client: &Client,
    ours: &Resources,
    protos: &Protos,
) -> Result<Resources> {
    let mut asking = Asking {
        ads: Ads::connect(address, &client.node).await?,
        ours,
        protos,
        answers: Resources::new(),
    };
    match client.shape {
        Shape::Sidecar | Shape::Router => asking.as_envoy(client.shape).await?,
        Shape::Grpc => {
            let mut node = client.node.clone();
            node.metadata.remove("GENERATOR");
            let clusters = all_clusters(address, &node).await?;
            asking.as_grpc(&clusters).await?;
        }
    }
    Ok(asking.answers)
}

/// The names of the clusters of the whole mesh: this dialect does not tell them.
async fn all_clusters(address: &str, node: &Node) -> Result<Vec<String>> {
    let mut ads = Ads::connect(address, node).await?;
    let clusters = ads.fetch(Kind::Cluster, Vec::new()).await?;
    Ok(clusters
        .into_keys()
        .filter(|name| name.starts_with("outbound|"))
        .collect())
}

struct Asking<'a> {
    ads: Ads,
    ours: &'a Resources,
    protos: &'a Protos,
    answers: Resources,
}

impl Asking<'_> {
    async fn as_envoy(&mut self, shape: Shape) -> Result<()> {
        let clusters = self.take(Kind::Cluster, Vec::new()).await?;
        // A workload's listeners for calls are ours to make in this dialect: they only tell which route configurations
        // there are.
        let listeners = self.ads.fetch(Kind::Listener, Vec::new()).await?;
        let served = listeners
            .iter()
            .filter(|(name, _)| shape == Shape::Router || *name == INBOUND);
        let served = served.map(|(name, any)| ((Kind::Listener, name.clone()), any.clone()));
        self.answers.extend(served);
        let mut routes = self.mentioned(listeners.values(), "route_config_name");
        if shape == Shape::Sidecar {
            routes.extend(clusters.keys().filter_map(|name| host_and_port(name)));
        }
        self.named(Kind::Route, routes).await?;
        let assignments = self.mentioned(clusters.values(), "service_name");
        self.named(Kind::Endpoints, assignments).await?;
        Ok(())
    }

    async fn as_grpc(&mut self, clusters: &[String]) -> Result<()> {
        let listeners = clusters
            .iter()
            .filter_map(|name| host_and_port(name))
            .collect();
        let listeners = self.named(Kind::Listener, listeners).await?;
        let routes = self.mentioned(listeners.values(), "route_config_name");
        self.named(Kind::Route, routes).await?;
        let clusters = self
            .named(Kind::Cluster, clusters.iter().cloned().collect())
            .await?;
        let assignments = self.mentioned(clusters.values(), "service_name");
        self.named(Kind::Endpoints, assignments).await?;
        Ok(())
    }

    /// Those of these names and of ours. Without a name there is nothing to ask: an empty list means all.
    async fn named(
        &mut self,
        kind: Kind,
        mut names: BTreeSet<String>,
    ) -> Result<BTreeMap<String, Any>> {
        let ours = self.ours.keys().filter(|(of, _)| *of == kind);
        names.extend(ours.map(|(_, name)| name.clone()));
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.take(kind, names.into_iter().collect()).await
    }

    async fn take(&mut self, kind: Kind, names: Vec<String>) -> Result<BTreeMap<String, Any>> {
        let resources = self.ads.fetch(kind, names).await?;
        let named = resources.iter();
        self.answers
            .extend(named.map(|(name, any)| ((kind, name.clone()), any.clone())));
        Ok(resources)
    }

    /// The values of a field, wherever it stands in these resources.
    fn mentioned<'b>(
        &self,
        resources: impl Iterator<Item = &'b Any>,
        field: &str,
    ) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        for any in resources {
            collect(&self.protos.tree(any), field, &mut out);
        }
        // `inbound|...` is said in the listener itself.
        out.retain(|name| !name.is_empty());
        out
    }
}

fn collect(tree: &Tree, field: &str, out: &mut BTreeSet<String>) {
    match tree {
        Tree::Value(_) => {}
        Tree::List(values) => values.iter().for_each(|value| collect(value, field, out)),
        Tree::Fields(fields) => {
            for (name, value) in fields {
                match value {
                    Tree::Value(text) if name == field => {
                        out.insert(text.trim_matches('"').to_owned());
                    }
                    value => collect(value, field, out),
                }
            }
        }
    }
}

/// `host:port` of a service's cluster.
fn host_and_port(cluster: &str) -> Option<String> {
    let [_, port, "", host] = cluster.split('|').collect::<Vec<_>>()[..] else {
        return None;
    };
    Some(format!("{host}:{port}"))
}
