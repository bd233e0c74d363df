//! The messages of `istio.v1.auth` (Istio's `api/security/v1alpha1/ca.proto`).

use envoy_types::pb::google::protobuf::Struct;

/// A request for a certificate.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IstioCertificateRequest {
    /// The request in PEM.
    #[prost(string, tag = "1")]
    pub(crate) csr: String,
    /// Seconds; 0 leaves it to the authority.
    #[prost(int64, tag = "3")]
    pub(crate) validity_duration: i64,
    /// `ImpersonatedIdentity` and `CertSigner` among its keys ask for more than a caller's own certificate.
    #[prost(message, optional, tag = "4")]
    pub(crate) metadata: Option<Struct>,
}

/// What was signed.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IstioCertificateResponse {
    /// PEM texts: the leaf, what leads up from it, the roots.
    #[prost(string, repeated, tag = "1")]
    pub(crate) cert_chain: Vec<String>,
}
