//! The codes of findings with their levels: those of Istio's `messages.yaml` where it has one.

use super::Level;

/// A code with what Istio says of how bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) id: &'static str,
    pub(super) level: Level,
}

const fn code(id: &'static str, level: Level) -> Code {
    Code { id, level }
}

impl Code {
    /// `ReferencedResourceNotFound`.
    pub(super) const NOT_FOUND: Self = code("IST0101", Level::Error);
    /// `SchemaValidationError`.
    pub(super) const SCHEMA: Self = code("IST0106", Level::Error);
    /// `ConflictingMeshGatewayVirtualServiceHosts`.
    pub(super) const SAME_HOST: Self = code("IST0109", Level::Error);
    /// `ConflictingSidecarWorkloadSelectors`.
    pub(super) const SAME_WORKLOAD: Self = code("IST0110", Level::Error);
    /// `MultipleSidecarsWithoutWorkloadSelectors`.
    pub(super) const MANY_SIDECARS: Self = code("IST0111", Level::Error);
    /// `VirtualServiceDestinationPortSelectorRequired`.
    pub(super) const PORT_REQUIRED: Self = code("IST0112", Level::Error);
    /// `PortNameIsNotUnderNamingConvention`.
    pub(super) const PORT_NAME: Self = code("IST0118", Level::Info);
    /// `NoMatchingWorkloadsFound`.
    pub(super) const NO_WORKLOAD: Self = code("IST0127", Level::Warning);
    /// `NoServerCertificateVerificationDestinationLevel`.
    pub(super) const UNVERIFIED: Self = code("IST0128", Level::Warning);
    /// `NoServerCertificateVerificationPortLevel`.
    pub(super) const UNVERIFIED_PORT: Self = code("IST0129", Level::Warning);
    /// `VirtualServiceUnreachableRule`.
    pub(super) const UNREACHABLE: Self = code("IST0130", Level::Warning);
    /// `VirtualServiceIneffectiveMatch`.
    pub(super) const INEFFECTIVE: Self = code("IST0131", Level::Info);
    /// `VirtualServiceHostNotFoundInGateway`.
    pub(super) const NOT_IN_GATEWAY: Self = code("IST0132", Level::Warning);
    /// `ServiceEntryAddressesRequired`.
    pub(super) const ADDRESSES: Self = code("IST0134", Level::Warning);
    /// `ConflictingGateways`.
    pub(super) const SAME_SERVER: Self = code("IST0145", Level::Error);
    /// `ExternalNameServiceTypeInvalidPortName`.
    pub(super) const EXTERNAL_PORT: Self = code("IST0150", Level::Warning);
    /// `DestinationRuleSubsetNotSelectPods`.
    pub(super) const EMPTY_SUBSET: Self = code("IST0173", Level::Error);
    /// `UnknownDestinationRuleHost`.
    pub(super) const UNKNOWN_HOST: Self = code("IST0174", Level::Warning);
    /// Ours: accepted, without effect in this version.
    pub(super) const NOT_SUPPORTED: Self = code("MESH0001", Level::Info);
    /// Ours: two `DestinationRule`s for one host of which one loses what it says.
    pub(super) const TWO_RULES: Self = code("MESH0002", Level::Warning);
    /// Ours: two `PeerAuthentication`s for the same workloads, of which one holds.
    pub(super) const TWO_PEERS: Self = code("MESH0003", Level::Warning);
    /// Ours: a rule of security for a port that nobody serves.
    pub(super) const UNSERVED_PORT: Self = code("MESH0004", Level::Warning);
    /// Ours: a principal that matches nobody, as it is written.
    pub(super) const PRINCIPAL: Self = code("MESH0005", Level::Warning);
    /// Ours: a `VirtualService` for a host of its namespace that is not there.
    pub(super) const UNKNOWN_NAME: Self = code("MESH0006", Level::Warning);
    /// Ours: a port of a workload that no service reads.
    pub(super) const UNREAD_PORT: Self = code("MESH0007", Level::Warning);
}
