//! Calls of generated clients through a channel of the mesh.

use std::collections::BTreeMap;

use mesh_tower::{CallInfo, CallOptions, MeshChannel};
use tokio_stream::StreamExt;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use crate::support::grpc::{EchoClient, HANG, Server, client, note, spoken};
use crate::support::{Folder, URL, within_five_sigma};

#[tokio::test]
async fn all_four_kinds_of_calls_pass_whatever_the_port_is_called() {
    for protocol in ["GRPC", "HTTP2", "HTTP"] {
        let server = Server::start("v1").await;
        let folder = Folder::reviews(protocol, &[("v1", server.address)]);
        let mesh = folder.mesh(7);
        let mut client = client(&mesh);

        let answer = client.unary(note("hello", 0)).await.unwrap().into_inner();
        assert_eq!(answer, note("v1 hello", 0), "{protocol}");

        let notes = tokio_stream::iter((0..100).map(|at| note("up", at)));
        let answer = client.upload(notes).await.unwrap().into_inner();
        assert_eq!(answer, note("v1", 100), "{protocol}");

        let stream = client.download(note("down", 100)).await.unwrap();
        let notes: Vec<_> = stream.into_inner().map(Result::unwrap).collect().await;
        let all: Vec<_> = (0..100).map(|at| note("v1", at)).collect();
        assert_eq!(notes, all, "{protocol}");

        // Answers come while the stream of requests is open: nothing is held back.
        let (say, words) = spoken();
        let mut heard = client.chat(words).await.unwrap().into_inner();
        for at in 0..10 {
            say.send(note("word", at)).unwrap();
            let back = heard.message().await.unwrap();
            assert_eq!(back, Some(note("v1 word", at)), "{protocol}");
        }
        drop(say);
        assert_eq!(heard.message().await.unwrap(), None, "{protocol}");
        assert_eq!(server.connections(), 1, "{protocol}: one for all calls");
    }
}

#[tokio::test]
async fn what_is_not_grpc_goes_as_the_port_says() {
    // The control of the test above: the server speaks HTTP/2 alone.
    let server = Server::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let error = mesh.client().get(URL).await.unwrap_err();
    assert!(error.is_reset(), "{error}");
    let answer = client(&mesh).unary(note("hello", 0)).await.unwrap();
    assert_eq!(answer.into_inner().text, "v1 hello");
}

#[tokio::test]
async fn metadata_passes_both_ways() {
    let server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let asking = |code: Code| {
        let mut request = Request::new(note("text – ü %", code as u32));
        let metadata = request.metadata_mut();
        metadata.insert("x-word", "word".parse().unwrap());
        metadata.insert_bin("x-bytes-bin", MetadataValue::from_bytes(&[0, 255, 10]));
        request
    };
    let answer = client.unary(asking(Code::Ok)).await.unwrap();
    let status = client.unary(asking(Code::NotFound)).await.unwrap_err();
    // A status of the server's is told as it is, from its trailers.
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "text – ü %");
    assert_eq!(status.details(), b"\0\xff");
    for metadata in [answer.metadata(), status.metadata()] {
        assert_eq!(metadata.get("x-word").unwrap(), "word");
        let bytes = metadata.get_bin("x-bytes-bin").unwrap().to_bytes();
        assert_eq!(bytes.unwrap(), &[0, 255, 10][..]);
        assert_eq!(metadata.get("x-te").unwrap(), "trailers");
    }
    // A server's own failure is none of the mesh's.
    assert!(mesh.stats().errors.is_empty());
}

#[tokio::test]
async fn large_messages_pass() {
    let server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let text: String = ('a'..='z').cycle().take(3 << 20).collect();
    let answer = client.unary(note(text.clone(), 0)).await.unwrap();
    assert!(answer.into_inner().text.strip_prefix("v1 ") == Some(&text));
    let notes = tokio_stream::iter((0..8).map({
        let text = text.clone();
        move |_| note(text.clone(), 0)
    }));
    let mut heard = client.chat(notes).await.unwrap().into_inner();
    let mut count = 0;
    while let Some(back) = heard.message().await.unwrap() {
        assert_eq!(back.text.len(), text.len() + 3);
        count += 1;
    }
    assert_eq!(count, 8);
}

#[tokio::test]
async fn calls_are_split_by_weight_and_streams_stay() {
    let (one, two) = (Server::start("v1").await, Server::start("v2").await);
    let backends = [("v1", one.address), ("v2", two.address)];
    let folder = Folder::reviews("GRPC", &backends);
    folder.split(&[("v1", 80), ("v2", 20)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let mut counts = BTreeMap::<String, usize>::new();
    let mut count = |text: &str| {
        let name = text.split(' ').next().unwrap_or_default();
        *counts.entry(name.to_owned()).or_default() += 1;
    };
    for _ in 0..500 {
        count(&client.unary(note("", 0)).await.unwrap().into_inner().text);
    }
    for _ in 0..100 {
        let stream = client.download(note("", 5)).await.unwrap().into_inner();
        let names: Vec<_> = stream.map(|note| note.unwrap().text).collect().await;
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        count(&names[0]);
    }
    assert_eq!(counts.values().sum::<usize>(), 600);
    assert!(within_five_sigma(counts["v1"], 600, 0.8), "{counts:?}");
    assert!(!within_five_sigma(counts["v1"], 600, 0.5), "{counts:?}");
}

#[tokio::test]
async fn subsets_with_an_endpoint_in_common_share_its_connection() {
    let server = Server::start("v1").await;
    let both = [("v1", server.address), ("v2", server.address)];
    let folder = Folder::reviews("GRPC", &both);
    folder.split(&[("v1", 50), ("v2", 50)]);
    let mesh = folder.mesh(7);
    let channel = mesh.channel("xds:///reviews:9080").unwrap();
    let mut client = EchoClient::new(channel.with_call_info());
    let mut clusters = BTreeMap::<String, usize>::new();
    for _ in 0..100 {
        let answer = client.unary(note("", 0)).await.unwrap();
        let info = answer.extensions().get::<CallInfo>().unwrap();
        *clusters.entry(info.cluster.to_string()).or_default() += 1;
    }
    assert_eq!(clusters.len(), 2, "{clusters:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_call_goes_to_the_channel_s_target() {
    let server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    for target in [
        "xds:///reviews:9080",
        "xds:///reviews.default.svc.cluster.local:9080",
        "reviews.default:9080",
    ] {
        let channel = mesh.channel(target).unwrap().with_call_info();
        // Where the client thinks that it is does not matter.
        let origin = "https://elsewhere.example.com".parse().unwrap();
        let mut client = EchoClient::with_origin(channel, origin);
        let answer = client.unary(note("", 0)).await.unwrap();
        let info = answer.extensions().get::<CallInfo>().unwrap();
        assert_eq!(info.endpoint, Some(server.address), "{target}");
        assert!(info.cluster.contains("reviews"), "{target}: {info:?}");
    }
    let refused = mesh.channel("xds://other/reviews:9080").unwrap_err();
    assert!(refused.to_string().contains("\"other\""), "{refused}");
}

#[tokio::test]
async fn a_channel_waits_for_nothing_and_asks_at_once() {
    // Nobody listens: a channel is made all the same, is cloned, shown and sent to other threads.
    fn is_a_transport<T: Clone + std::fmt::Debug + Send + Sync + 'static>(_: &T) {}
    let mesh = mesh_tower::Mesh::builder().build().unwrap();
    let channel: MeshChannel = mesh.channel("xds:///reviews").unwrap();
    is_a_transport(&channel);
    assert!(format!("{channel:?}").contains("reviews"));

    let server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let mut first = client(&mesh);
    // Calls at once, before any configuration.
    let (one, two) = tokio::join!(first.unary(note("1", 0)), async {
        client(&mesh).unary(note("2", 0)).await
    });
    assert_eq!(one.unwrap().into_inner().text, "v1 1");
    assert_eq!(two.unwrap().into_inner().text, "v1 2");
}

#[tokio::test]
async fn many_streams_are_open_at_once() {
    let server = Server::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let mut open = Vec::new();
    for _ in 0..300 {
        let mut stream = client.download(note(HANG, 1)).await.unwrap().into_inner();
        stream.message().await.unwrap();
        open.push(stream);
    }
    assert_eq!(
        client.unary(note("", 0)).await.unwrap().into_inner().text,
        "v1 "
    );
    assert_eq!(
        mesh.stats().edges.iter().map(|edge| edge.in_flight).max(),
        Some(300)
    );
}

#[tokio::test]
async fn call_options_travel_in_the_request_of_tonic() {
    let (one, two) = (Server::start("v1").await, Server::start("v2").await);
    let backends = [("v1", one.address), ("v2", two.address)];
    let folder = Folder::reviews("GRPC", &backends);
    folder.split(&[("v1", 99), ("v2", 1)]);
    let asking = |subset: &str| {
        let mut request = Request::new(note("", 0));
        let options = CallOptions::new().subset(subset);
        request.extensions_mut().insert(options);
        request
    };
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    // The first of them waits for configuration.
    for subset in ["v2", "v1", "v2", "v1", "v2", "v2", "v2", "v2"] {
        let answer = client.unary(asking(subset)).await.unwrap();
        assert_eq!(answer.into_inner().text, format!("{subset} "));
    }
    let status = client.unary(asking("v3")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("NC"), "{status:?}");
    assert!(
        status.message().contains("\"v1\", \"v2\" only"),
        "{status:?}"
    );
}
