//! The names by which istiod tells what becomes of hosts that the mesh does not know (`outboundTrafficPolicy`).

/// The virtual host at the end of a table that lets them out: `ALLOW_ANY`.
pub const ALLOW_ANY: &str = "allow_any";
/// The virtual host at the end of a table that does not: `REGISTRY_ONLY`.
pub const BLOCK_ALL: &str = "block_all";
/// The cluster of what is let out, which dials what the caller asked for.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// The cluster of what is not, which has no endpoints.
pub const BLACK_HOLE: &str = "BlackHoleCluster";
