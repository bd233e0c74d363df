//! The gRPC server that stands behind every arm: tonic's, answering with the message it got.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::codegen::{Body, BoxFuture, Service, StdError};
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::error::BenchError;
use crate::{paired, server};

/// What is sent, and what must come back.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) data: Bytes,
}

/// The server's process: prints its address, serves until its input ends.
pub(crate) fn serve() -> Result<(), BenchError> {
    paired::runtime()?.block_on(async {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
        let address = incoming.local_addr()?;
        server::until_input_ends(address, async {
            Server::builder()
                .add_service(Echo)
                .serve_with_incoming(incoming)
                .await
                .map_err(|error| BenchError::Server(error.to_string()))
        })
        .await
    })
}

/// In the shape that is generated from a proto file.
#[derive(Debug, Clone, Copy)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Service0999";
}

impl<B> Service<http::Request<B>> for Echo
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.unary(Method, request).await)
        })
    }
}

/// The one method.
#[derive(Debug, Clone, Copy)]
struct Method;

impl Service<Request<Payload>> for Method {
    type Response = Response<Payload>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Protocol;

    #[test]
    fn the_path_of_the_calls_is_a_method_of_the_service() {
        let path = Protocol::Grpc.path();
        assert!(path.starts_with(&format!("/{}/", Echo::NAME)));
    }
}
