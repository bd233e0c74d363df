//! The greeter's client and server, described in Rust: no protoc.
use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let greet = Method::builder()
        .name("greet")
        .route_name("Greet")
        .input_type("crate::Name")
        .output_type("crate::Greeting")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let greeter = Service::builder()
        .name("Greeter")
        .package("examples")
        .method(greet)
        .build();
    Builder::new().compile(&[greeter]);
}
