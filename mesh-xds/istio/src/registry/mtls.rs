//! Which servers take plaintext, by the `PeerAuthentication`s of the mesh, of a namespace and of a workload.

use std::collections::BTreeMap;

use crate::decode::{Labels, selects};
use crate::kinds::peer_authentication::{Mode, PeerAuthentication};

use super::{Named, Registry, Service, Workload};

/// What the ports of a workload take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Modes {
    /// Where no port says otherwise.
    pub(crate) all: Mode,
    /// `portLevelMtls`, by the port of the workload.
    pub(crate) ports: BTreeMap<u32, Mode>,
}

impl Modes {
    pub(crate) fn on(&self, port: u32) -> Mode {
        self.ports.get(&port).copied().unwrap_or(self.all)
    }
}

impl Registry {
    /// What a workload of these labels takes: the mesh's rule, over it the namespace's, then the one that selects the
    /// workload. Of several of one scope the first counts. One that selects in the root namespace counts for nobody.
    pub(crate) fn modes(&self, namespace: &str, labels: &Labels) -> Modes {
        let root = self.mesh.root_namespace.as_str();
        let selecting = self.peers_of(namespace).iter().find(|rule| {
            let selector = &rule.spec.selector;
            namespace != root && !selector.is_empty() && selects(selector, labels)
        });
        let selecting = selecting.map(|rule| &rule.spec);
        let of_all = selecting.and_then(|rule| rule.mode);
        let all = of_all.unwrap_or_else(|| self.namespace_mode(namespace));
        let ports = selecting.into_iter().flat_map(|rule| &rule.ports);
        Modes {
            all,
            ports: ports
                .map(|(port, mode)| (*port, mode.unwrap_or(all)))
                .collect(),
        }
    }

    /// Those of a namespace: they stand together.
    fn peers_of(&self, namespace: &str) -> &[Named<PeerAuthentication>] {
        let is_before = |rule: &Named<_>| rule.namespace.as_str() < namespace;
        let of = &self.peers[self.peers.partition_point(is_before)..];
        &of[..of.partition_point(|rule| rule.namespace == namespace)]
    }

    /// What the servers of a namespace take if nothing selects them; `PERMISSIVE` where nobody says anything.
    pub(crate) fn namespace_mode(&self, namespace: &str) -> Mode {
        let root = self.mesh.root_namespace.as_str();
        let of = |namespace: &str| -> Option<Mode> {
            let mut rules = self.peers_of(namespace).iter();
            let rule = rules.find(|rule| rule.spec.selector.is_empty());
            rule?.spec.mode
        };
        of(namespace)
            .or_else(|| of(root))
            .unwrap_or(Mode::Permissive)
    }

    /// Whether a workload is called over mutual TLS where it can be: it has an identity, and takes more than plaintext.
    pub(crate) fn takes_mtls(&self, workload: &Workload, port: u32) -> bool {
        let labels = &workload.endpoint.labels;
        let has = workload.tls_mode() == Some(ISTIO);
        has && self.modes(&workload.namespace, labels).on(port) != Mode::Disable
    }

    /// The names that servers of a service may prove, sorted: the service accounts of all its endpoints in the mesh's
    /// trust domain and its aliases, and what its own entry lists.
    pub(crate) fn identities(&self, service: &Service) -> Vec<String> {
        let instances = service.ports.iter().flat_map(|port| &port.instances);
        let mut names: Vec<String> = Vec::new();
        for instance in instances {
            let Workload {
                namespace,
                endpoint,
                ..
            } = &*instance.workload;
            if let Some(account) = &endpoint.service_account {
                let domains = self.mesh.trust_domains.iter();
                names
                    .extend(domains.map(|td| format!("spiffe://{td}/ns/{namespace}/sa/{account}")));
            }
        }
        for name in &service.sans {
            names.push(name.clone());
            if let Some(path) = path_of_account(name) {
                let aliases = self.mesh.trust_domains.iter().skip(1);
                names.extend(aliases.map(|td| format!("spiffe://{td}/{path}")));
            }
        }
        names.sort();
        names.dedup();
        names
    }
}

/// What follows the trust domain in the identity of a service account: `ns/NAMESPACE/sa/ACCOUNT`.
fn path_of_account(identity: &str) -> Option<&str> {
    let (_, path) = identity.strip_prefix("spiffe://")?.split_once('/')?;
    let parts: Vec<_> = path.split('/').collect();
    matches!(parts[..], ["ns", _, "sa", _]).then_some(path)
}

/// The value of the label by which a workload says that it speaks Istio's mutual TLS.
pub(crate) const ISTIO: &str = "istio";
pub(crate) const TLS_MODE: &str = "security.istio.io/tlsMode";
const DISABLED: &str = "disabled";

impl Workload {
    /// How it speaks TLS, in Istio's words: by its label, else by whether it has a service account. Nothing where it
    /// does not.
    pub(crate) fn tls_mode(&self) -> Option<&str> {
        let said = self.endpoint.labels.get(TLS_MODE).map(String::as_str);
        let account = self.endpoint.service_account.is_some();
        said.or_else(|| account.then_some(ISTIO))
            .filter(|mode| !mode.is_empty() && *mode != DISABLED)
    }
}
