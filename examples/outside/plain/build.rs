//! The service's client and server, described in Rust: no protoc.
use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let name = Method::builder()
        .name("name")
        .route_name("Name")
        .input_type("crate::Name")
        .output_type("crate::Name")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let greeter = Service::builder()
        .name("Greeter")
        .package("outside")
        .method(name)
        .build();
    Builder::new().compile(&[greeter]);
}
