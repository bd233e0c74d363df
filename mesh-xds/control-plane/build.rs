//! Istio's certificate service (`api/security/v1alpha1/ca.proto`), described in Rust: no protoc.
use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let create = Method::builder()
        .name("create_certificate")
        .route_name("CreateCertificate")
        .input_type("crate::ca::proto::IstioCertificateRequest")
        .output_type("crate::ca::proto::IstioCertificateResponse")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let service = Service::builder()
        .name("IstioCertificateService")
        .package("istio.v1.auth")
        .method(create)
        .build();
    Builder::new().build_client(false).compile(&[service]);
}
