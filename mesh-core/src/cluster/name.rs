//! What Istio says of a cluster in its name.

/// The parts of `outbound|PORT|SUBSET|HOST`, as istiod names the clusters of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IstioName<'a> {
    /// The service's port.
    pub port: u16,
    /// The subset of the DestinationRule; `None` is the whole service.
    pub subset: Option<&'a str>,
    /// The service's host.
    pub host: &'a str,
}

impl<'a> IstioName<'a> {
    /// Reads the name of a cluster; `None` is a name of another form, which says nothing of a host or a subset.
    ///
    /// ```
    /// use mesh_core::cluster::IstioName;
    ///
    /// let name = IstioName::parse("outbound|9080|v1|reviews.default.svc.cluster.local");
    /// assert_eq!(name.and_then(|name| name.subset), Some("v1"));
    /// assert_eq!(IstioName::parse("PassthroughCluster"), None);
    /// ```
    pub fn parse(cluster: &'a str) -> Option<Self> {
        let mut parts = cluster.strip_prefix("outbound|")?.splitn(3, '|');
        let (port, subset, host) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            port: port.parse().ok()?,
            subset: Some(subset).filter(|subset| !subset.is_empty()),
            host,
        })
    }
}
