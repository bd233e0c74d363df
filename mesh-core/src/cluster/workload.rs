//! Who stands behind an endpoint, and for which service: the words of Istio's metrics.

use std::sync::Arc;

/// A workload, as metrics name it. An empty text stands for "not known".
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// `WORKLOAD_NAME`: the deployment, not the pod.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// `service.istio.io/canonical-name`
    pub canonical_service: Arc<str>,
    /// `service.istio.io/canonical-revision`
    pub canonical_revision: Arc<str>,
    /// The Kubernetes cluster that it is in, `CLUSTER_ID`.
    pub cluster: Arc<str>,
    /// The label `app`; an endpoint's metadata does not tell it.
    pub app: Arc<str>,
    /// The label `version`; the same.
    pub version: Arc<str>,
}

impl Workload {
    /// Reads an endpoint's metadata `istio.workload`:
    /// `workload;namespace;canonical service;canonical revision;cluster`. `None` when there are fewer than the first
    /// four; older control planes leave the cluster out.
    ///
    /// ```
    /// use mesh_core::cluster::Workload;
    ///
    /// let v1 = Workload::parse("reviews-v1;default;reviews;v1;Kubernetes").unwrap();
    /// assert_eq!((&*v1.name, &*v1.canonical_revision), ("reviews-v1", "v1"));
    /// assert_eq!(Workload::parse("reviews-v1"), None);
    /// ```
    pub fn parse(metadata: &str) -> Option<Self> {
        let mut parts = metadata.split(';').map(Arc::<str>::from);
        Some(Self {
            name: parts.next()?,
            namespace: parts.next()?,
            canonical_service: parts.next()?,
            canonical_revision: parts.next()?,
            cluster: parts.next().unwrap_or_default(),
            ..Self::default()
        })
    }
}

/// A service, as metrics name it (a cluster's metadata `istio.services`). An empty text stands for "not known".
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Service {
    /// Its host, as `reviews.default.svc.cluster.local`.
    pub host: Arc<str>,
    /// Its name, as `reviews`.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
}

impl Service {
    /// What a host alone tells: the name is its first part, or all of it outside of Kubernetes, where the namespace
    /// is not known.
    ///
    /// ```
    /// use mesh_core::cluster::Service;
    ///
    /// let reviews = Service::of_host("reviews.default.svc.cluster.local");
    /// assert_eq!((&*reviews.name, &*reviews.namespace), ("reviews", "default"));
    /// let outside = Service::of_host("api.example.com");
    /// assert_eq!((&*outside.name, &*outside.namespace), ("api.example.com", ""));
    /// ```
    pub fn of_host(host: &str) -> Self {
        let mut parts = host.splitn(4, '.');
        let (name, namespace) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(namespace), Some("svc"), Some(_)) => (name, namespace),
            _ => (host, ""),
        };
        Self {
            host: host.into(),
            name: name.into(),
            namespace: namespace.into(),
        }
    }
}
