//! gRPC on each server of the mesh, and a stream that is open while it drains.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_tower::Mesh;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;

use crate::support::Folder;
use crate::support::grpc::{EchoServer, client, note, spoken};
use crate::wire::refused;

/// Serves [`EchoServer`] until the mesh has drained.
fn serve(way: &str, mesh: &Mesh, listener: mesh_tower::MeshListener) -> JoinHandle<()> {
    let (echo, draining) = (EchoServer::new("v1"), mesh.draining());
    match way {
        #[cfg(feature = "axum")]
        "axum::serve" => {
            let app = axum::Router::new().route_service("/test.Echo/{*method}", echo);
            let serving = axum::serve(listener, app).with_graceful_shutdown(draining);
            tokio::spawn(async move { serving.await.unwrap() })
        }
        #[cfg(feature = "tonic-server")]
        "serve_with_incoming" => {
            let incoming = listener.incoming();
            let server = tonic::transport::Server::builder().add_service(echo);
            let serving = server.serve_with_incoming_shutdown(incoming, draining);
            tokio::spawn(async move { serving.await.unwrap() })
        }
        _ => {
            drop(draining);
            tokio::spawn(async move { listener.serve(echo).await.unwrap() })
        }
    }
}

const WAYS: &[&str] = &[
    "mesh.serve",
    #[cfg(feature = "axum")]
    "axum::serve",
    #[cfg(feature = "tonic-server")]
    "serve_with_incoming",
];

async fn started(way: &str) -> (Mesh, SocketAddr, JoinHandle<()>) {
    let mesh = Mesh::builder().build().unwrap();
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let serving = serve(way, &mesh, listener);
    (mesh, address, serving)
}

#[tokio::test]
async fn all_kinds_of_calls_are_served() {
    for way in WAYS {
        let (_server, address, serving) = started(way).await;
        let folder = Folder::reviews("GRPC", &[("v1", address)]);
        let mesh = folder.mesh(1);
        let mut client = client(&mesh);
        let answer = client.unary(note("hello", 0)).await.unwrap().into_inner();
        assert_eq!(answer, note("v1 hello", 0), "{way}");
        let answer = client.unary(note("no", 5)).await.unwrap_err();
        assert_eq!(answer.code(), tonic::Code::NotFound, "{way}");
        let notes = tokio_stream::iter((0..9).map(|at| note("up", at)));
        let answer = client.upload(notes).await.unwrap().into_inner();
        assert_eq!(answer, note("v1", 9), "{way}");
        let stream = client.download(note("down", 9)).await.unwrap();
        let notes: Vec<_> = stream.into_inner().map(Result::unwrap).collect().await;
        assert_eq!(notes.len(), 9, "{way}");
        serving.abort();
    }
}

#[tokio::test]
async fn a_stream_that_is_open_goes_on_to_its_end() {
    for way in WAYS {
        let (server, address, serving) = started(way).await;
        let folder = Folder::reviews("GRPC", &[("v1", address)]);
        let mesh = folder.mesh(1);
        let (speak, notes) = spoken();
        let mut answers = client(&mesh).chat(notes).await.unwrap().into_inner();
        speak.send(note("before", 1)).unwrap();
        assert_eq!(answers.message().await.unwrap(), Some(note("v1 before", 1)));

        let hour = Duration::from_secs(3600);
        let shutdown = tokio::spawn(async move { server.shutdown_within(hour).await });
        refused(address).await;
        speak.send(note("meanwhile", 2)).unwrap();
        let answer = answers.message().await.unwrap();
        assert_eq!(answer, Some(note("v1 meanwhile", 2)), "{way}");
        assert!(!shutdown.is_finished() && !serving.is_finished(), "{way}");

        // New calls find nobody, though the stream's connection is still there.
        let refused = client(&mesh).unary(note("new", 0)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable, "{way}: {refused}");

        drop(speak);
        assert_eq!(
            answers.message().await.unwrap(),
            None,
            "{way}: with its trailers"
        );
        shutdown.await.unwrap();
        serving.await.unwrap();
    }
}
