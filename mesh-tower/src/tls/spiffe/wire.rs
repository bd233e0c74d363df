//! The messages of SPIFFE's Workload API, as far as they are used.

use std::collections::HashMap;
use std::fmt;

use mesh_xds::link::Method;
use zeroize::Zeroize;

/// `SpiffeWorkloadAPI/FetchX509SVID`; the service is in no package. The header is what tells a workload from a page of the web
/// (SPIFFE Workload Endpoint, 6).
pub(super) const FETCH_X509_SVID: Method = Method {
    path: "/SpiffeWorkloadAPI/FetchX509SVID",
    header: Some(("workload.spiffe.io", "true")),
    largest_response: 4 << 20,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct X509SvidRequest {}

/// All that the workload has now.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct X509SvidResponse {
    /// The first is the one to use where nothing else is said.
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<X509Svid>,
    /// In DER.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) crl: Vec<Vec<u8>>,
    /// By the id of the trust domain, `spiffe://partner.example`: certificates in DER, one behind the other.
    #[prost(map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// Certificates in DER, one behind the other, the workload's own first.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid: Vec<u8>,
    /// PKCS#8 in DER.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) x509_svid_key: Vec<u8>,
    /// The authorities of the id's trust domain: certificates in DER, one behind the other.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
}

impl Drop for X509SvidResponse {
    fn drop(&mut self) {
        for svid in &mut self.svids {
            svid.x509_svid_key.zeroize();
        }
    }
}

/// Not the key.
impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Svid")
            .field("spiffe_id", &self.spiffe_id)
            .finish_non_exhaustive()
    }
}
