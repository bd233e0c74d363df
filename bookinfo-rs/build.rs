//! ratings' gRPC service, described in Rust: no protoc.
use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let get = Method::builder()
        .name("get")
        .route_name("Get")
        .input_type("crate::service::ratings::grpc::Product")
        .output_type("crate::service::ratings::grpc::Stars")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let ratings = Service::builder()
        .name("Ratings")
        .package("bookinfo")
        .method(get)
        .build();
    Builder::new().compile(&[ratings]);
}
