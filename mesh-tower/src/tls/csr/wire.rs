//! The two messages of Istio's certificate service, as far as they are used.

/// `istio.v1.auth.IstioCertificateService/CreateCertificate`.
pub(super) const CREATE_CERTIFICATE: &str =
    "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// What is asked for. `metadata` (4) is for authorities with profiles of certificates.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IstioCertificateRequest {
    /// PKCS#10 in PEM.
    #[prost(string, tag = "1")]
    pub(super) csr: String,
    /// In seconds.
    #[prost(int64, tag = "3")]
    pub(super) validity_duration: i64,
}

/// What comes back.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IstioCertificateResponse {
    /// PEM texts: the workload's certificate, those above it, the roots.
    #[prost(string, repeated, tag = "1")]
    pub(super) cert_chain: Vec<String>,
}
