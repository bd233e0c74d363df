//! Copies of requests that the rules send to a second cluster, of which the caller notices nothing.

use std::net::SocketAddr;

use axum::Router;
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route_action::RequestMirrorPolicy;
use http::{Request, Version};
use http_body_util::BodyExt;
use mesh_tower::{Body, EdgeStats, Mesh};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::faults::percent;
use crate::support::frozen::Frozen;
use crate::support::rules::{Ruled, action, entry, host, millis, ruled, set};
use crate::support::stage::Stage;
use crate::support::{Backend, Closed, Folder, URL, text_of, until, within_five_sigma};

const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";
const V2: &str = "outbound|9080|v2|reviews.default.svc.cluster.local";

fn policy(cluster: &str) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: cluster.to_owned(),
        ..RequestMirrorPolicy::default()
    }
}

struct Scene {
    mesh: Mesh,
    ruled: Ruled,
    _folder: Folder,
    _v1: Backend,
}

/// All requests go to `v1`, which says what it got; `v2` is for mirrors.
async fn scene(
    protocol: &str,
    v2: SocketAddr,
    change: impl FnOnce(&mut RouteConfiguration),
) -> Scene {
    let app = Router::new().fallback(|request: axum::extract::Request| async move {
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        format!("v1 {}", body.unwrap().len())
    });
    let v1 = Backend::serve("v1", app).await;
    let folder = Folder::reviews(protocol, &[("v1", v1.address), ("v2", v2)]);
    folder.split(&[("v1", 1)]);
    let (ruled, mesh) = ruled(&folder, |rules| {
        action(rules).request_mirror_policies = vec![policy(V2)];
        change(rules);
    })
    .await;
    Scene {
        mesh,
        ruled,
        _folder: folder,
        _v1: v1,
    }
}

impl Scene {
    /// Of `bytes` in a stream of frames.
    async fn post(&self, frames: usize, bytes: usize) -> String {
        let all = (0..frames).map(|_| Bytes::from(vec![b'x'; bytes]));
        let all = all.map(|bytes| Ok::<_, std::io::Error>(http_body::Frame::data(bytes)));
        let stream = http_body_util::StreamBody::new(tokio_stream::iter(all.collect::<Vec<_>>()));
        let request = Request::post(URL).body(Body::new(stream)).unwrap();
        text_of(self.mesh.client().send(request).await.unwrap())
            .await
            .1
    }

    async fn get(&self) -> String {
        let response = self.mesh.client().get(URL).await.unwrap();
        text_of(response).await.1
    }

    fn edge(&self, cluster: &str) -> EdgeStats {
        let edges = self.mesh.stats().edges;
        let is_it = |edge: &EdgeStats| &*edge.cluster == cluster && edge.endpoint.is_none();
        edges.into_iter().find(is_it).unwrap()
    }
}

async fn length(request: axum::extract::Request) -> Option<usize> {
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
    body.ok().map(|body| body.len())
}

#[tokio::test]
async fn a_mirror_gets_what_is_sent_and_the_caller_another_answer() {
    for protocol in ["HTTP", "HTTP2"] {
        let mut v2 = Stage::start().await;
        let scene = scene(protocol, v2.backend.address, |rules| {
            host(rules).request_headers_to_add = vec![set("x-rule", "1")];
            action(rules).prefix_rewrite = "/rewritten/".to_owned();
        })
        .await;
        let request = Request::put(format!("{URL}?a=b")).header("x-own", "2");
        let request = request.body(Body::from("four")).unwrap();
        let (_, text) = text_of(scene.mesh.client().send(request).await.unwrap()).await;
        assert_eq!(text, "v1 4", "{protocol}");
        let mut arrival = v2.arrival().await;
        let copy = std::mem::take(&mut arrival.request);
        assert_eq!(copy.method(), http::Method::PUT);
        assert_eq!(copy.uri().path(), "/rewritten/reviews/0");
        assert_eq!(copy.uri().query(), Some("a=b"));
        assert_eq!(copy.headers()["x-rule"], "1");
        assert_eq!(copy.headers()["x-own"], "2");
        let host = match copy.version() {
            Version::HTTP_2 => copy.uri().authority().unwrap().as_str(),
            _ => copy.headers()["host"].to_str().unwrap(),
        };
        assert_eq!(host, "reviews-shadow:9080", "{protocol}");
        assert_eq!(length(copy).await, Some(4), "{protocol}");
        arrival.answer("unseen");
        let counted = || async { scene.edge(V2).classes[1] == 1 };
        until("the mirror's answer to be counted", counted).await;
        assert_eq!(scene.edge(V1).requests, 1);
        let mirrors = scene.mesh.stats().mirrors;
        assert_eq!((mirrors.begun, mirrors.dropped), (1, 0));
        assert_eq!(scene.ruled.nacks(), [""; 0]);
    }
}

#[tokio::test]
async fn a_stream_reaches_both() {
    for protocol in ["HTTP", "HTTP2"] {
        let mut v2 = Stage::start().await;
        let scene = scene(protocol, v2.backend.address, |_| {}).await;
        assert_eq!(scene.post(10, 100_000).await, "v1 1000000", "{protocol}");
        let mut arrival = v2.arrival().await;
        let copy = std::mem::take(&mut arrival.request);
        assert_eq!(length(copy).await, Some(1_000_000), "{protocol}");
        arrival.answer("unseen");
    }
}

#[tokio::test]
async fn a_stream_that_has_ended_is_copied_to_its_end() {
    let bodies = || {
        [
            Body::new(http_body_util::Empty::<Bytes>::new()),
            Body::new(http_body_util::Full::new(Bytes::new())),
        ]
    };
    // Whoever sends the request itself never asks these for a frame.
    for protocol in ["HTTP", "HTTP2"] {
        for body in bodies() {
            let mut v2 = Stage::start().await;
            let scene = scene(protocol, v2.backend.address, |_| {}).await;
            let response = scene.mesh.client().post(URL, body).await.unwrap();
            assert_eq!(text_of(response).await.1, "v1 0");
            let mut arrival = v2.arrival().await;
            let copy = std::mem::take(&mut arrival.request);
            assert_eq!(length(copy).await, Some(0), "{protocol}");
        }
    }
}

/// A stream without bytes has not ended: over HTTP/1.1 nobody asks it for more, over HTTP/2 it may have trailers.
#[tokio::test]
async fn a_stream_without_bytes_is_copied_to_its_end() {
    for protocol in ["HTTP", "HTTP2"] {
        let mut v2 = Stage::start().await;
        let scene = scene(protocol, v2.backend.address, |_| {}).await;
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-end", "here".parse().unwrap());
        let empty = http_body_util::Empty::<Bytes>::new();
        let body = Body::new(empty.with_trailers(std::future::ready(Some(Ok(trailers)))));
        let response = scene.mesh.client().post(URL, body).await.unwrap();
        assert_eq!(text_of(response).await.1, "v1 0");
        let mut arrival = v2.arrival().await;
        let copy = std::mem::take(&mut arrival.request).into_body();
        let copy = copy.collect().await.unwrap();
        let end = copy.trailers().and_then(|all| all.get("x-end"));
        assert_eq!(end.is_some(), protocol == "HTTP2", "{protocol}");
        assert_eq!(copy.to_bytes(), "", "{protocol}");

        let stream = http_body_util::StreamBody::new(tokio_stream::empty::<
            Result<http_body::Frame<Bytes>, std::io::Error>,
        >());
        let request = Request::post(URL).header("content-length", "0");
        let request = request.body(Body::new(stream)).unwrap();
        let response = scene.mesh.client().send(request).await.unwrap();
        assert_eq!(text_of(response).await.1, "v1 0");
        let copy = std::mem::take(&mut v2.arrival().await.request);
        assert_eq!(length(copy).await, Some(0), "{protocol}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_has_no_copy() {
    let v2 = Backend::start("v2").await;
    let folder = Folder::reviews("HTTP", &[("v2", v2.address)]);
    folder.split(&[("v2", 1)]);
    folder.write(
        "nobody.yaml",
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: nobody, namespace: default }\nspec:\n  hosts: [nobody.default.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{ number: 9080, name: http, protocol: HTTP }]\n  workloadSelector: { labels: { app: nobody } }\n",
    );
    for (cluster, answered) in [
        (V2, 1),
        ("outbound|9080||nobody.default.svc.cluster.local", 0),
    ] {
        let (_ruled, mesh) = ruled(&folder, |rules| {
            action(rules).request_mirror_policies = vec![policy(V2)];
            entry(action(rules)).name = cluster.to_owned();
        })
        .await;
        let called = mesh.client().get(URL).await;
        match answered {
            0 => assert!(called.unwrap_err().is_no_endpoint()),
            _ => assert_eq!(text_of(called.unwrap()).await.0, 200),
        }
        assert_eq!(mesh.stats().mirrors.begun, answered, "{cluster}");
    }
}

#[tokio::test]
async fn a_host_may_stay_as_it_is_or_be_another() {
    for (literal, wanted) in [("", "reviews:9080"), ("mirror.example", "mirror.example")] {
        let mut v2 = Stage::start().await;
        let scene = scene("HTTP", v2.backend.address, |rules| {
            action(rules).request_mirror_policies = vec![RequestMirrorPolicy {
                disable_shadow_host_suffix_append: literal.is_empty(),
                host_rewrite_literal: literal.to_owned(),
                ..policy(V2)
            }];
        })
        .await;
        assert_eq!(scene.get().await, "v1 0");
        let arrival = v2.arrival().await;
        assert_eq!(arrival.request.headers()["host"], wanted);
    }
}

#[tokio::test]
async fn a_mirror_that_hangs_refuses_or_is_not_there_is_not_noticed() {
    // Nobody accepts, so the connection is there and nothing comes back.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = Closed::new();
    for v2 in [silent.local_addr().unwrap(), closed.address] {
        let scene = scene("HTTP", v2, |_| {}).await;
        for _ in 0..20 {
            assert_eq!(scene.get().await, "v1 0");
        }
        assert_eq!(scene.post(2, 1000).await, "v1 2000");
        assert_eq!(scene.mesh.stats().mirrors.begun, 21);
        assert!(scene.mesh.stats().errors.is_empty());
    }
    let scene = scene("HTTP", closed.address, |rules| {
        let nowhere = policy("outbound|9080||nowhere");
        action(rules).request_mirror_policies = vec![nowhere];
    })
    .await;
    assert_eq!(scene.get().await, "v1 0");
    assert_eq!(scene.mesh.stats().mirrors.begun, 0);
}

#[tokio::test]
async fn a_mirror_that_fails_is_counted_by_its_cluster() {
    let closed = Closed::new();
    let scene = scene("HTTP", closed.address, |_| {}).await;
    assert_eq!(scene.get().await, "v1 0");
    until("the failure to be counted", || async {
        scene.edge(V2).failed >= 1
    })
    .await;
    assert_eq!(scene.edge(V1).failed, 0);
    until("the mirror to end", || async {
        scene.mesh.stats().mirrors.in_flight == 0
    })
    .await;
}

#[tokio::test]
async fn a_mirror_that_is_too_slow_for_a_large_body_is_broken_off() {
    let mut v2 = Stage::start().await;
    let scene = scene("HTTP", v2.backend.address, |_| {}).await;
    // Its server does not read, and what is in the sockets' buffers is less.
    const FRAMES: usize = 300;
    let sent = scene.post(FRAMES, 100_000);
    let (sent, mut arrival) = tokio::join!(sent, v2.arrival());
    assert_eq!(sent, format!("v1 {}", FRAMES * 100_000));
    assert_eq!(scene.mesh.stats().mirrors.dropped, 1);
    let copy = std::mem::take(&mut arrival.request);
    assert_eq!(length(copy).await, None, "half a request is not a request");

    // Bytes at hand are copied up to the bound, and no further.
    for (bytes, begun, dropped) in [(1024 * 1024, 2, 1), (1024 * 1024 + 1, 2, 2)] {
        let body = Body::from(vec![b'x'; bytes]);
        let response = scene.mesh.client().post(URL, body).await.unwrap();
        assert_eq!(text_of(response).await.1, format!("v1 {bytes}"));
        let mirrors = scene.mesh.stats().mirrors;
        assert_eq!((mirrors.begun, mirrors.dropped), (begun, dropped));
    }
}

#[tokio::test]
async fn a_caller_that_leaves_half_way_leaves_no_whole_copy() {
    let mut v2 = Stage::start().await;
    let scene = scene("HTTP", v2.backend.address, |_| {}).await;
    let (upload, frames) = mpsc::unbounded_channel();
    let frames = UnboundedReceiverStream::new(frames);
    let body = http_body_util::StreamBody::new(
        frames.map(|bytes| Ok::<_, std::io::Error>(http_body::Frame::data(bytes))),
    );
    let request = Request::post(URL).body(Body::new(body)).unwrap();
    let client = scene.mesh.client();
    let call = tokio::spawn(async move { client.send(request).await });
    upload.send(Bytes::from_static(b"half")).unwrap();
    let mut arrival = v2.arrival().await;
    let copy = arrival.read();
    call.abort();
    assert!(!copy.await.unwrap(), "the copy is broken off as well");
}

#[tokio::test]
async fn a_fraction_is_mirrored() {
    const ALL: usize = 1000;
    let mut v2 = Vec::new();
    for of in [0, 30, 100] {
        let backend = Backend::start("v2").await;
        let scene = scene("HTTP2", backend.address, |rules| {
            action(rules).request_mirror_policies = vec![RequestMirrorPolicy {
                runtime_fraction: Some(RuntimeFractionalPercent {
                    default_value: percent(of),
                    ..RuntimeFractionalPercent::default()
                }),
                ..policy(V2)
            }];
        })
        .await;
        for _ in 0..ALL {
            assert_eq!(scene.get().await, "v1 0");
        }
        let mirrors = scene.mesh.stats().mirrors;
        v2.push((mirrors.begun + mirrors.dropped) as usize);
    }
    assert_eq!((v2[0], v2[2]), (0, ALL));
    assert!(within_five_sigma(v2[1], ALL, 0.3), "{v2:?}");
    // The control: it would tell another share.
    assert!(!within_five_sigma(v2[1], ALL, 0.45), "{v2:?}");
}

#[tokio::test]
async fn a_mirror_has_a_time_of_its_own_and_so_many_places() {
    let mut v2 = Stage::start().await;
    let scene = scene("HTTP2", v2.backend.address, |rules| {
        action(rules).timeout = millis(0);
    })
    .await;
    assert_eq!(scene.get().await, "v1 0");
    let arrival = v2.arrival().await;
    let clock = Frozen::start();
    for _ in 0..300 {
        let client = scene.mesh.client();
        let call = tokio::spawn(async move { client.get(URL).await });
        clock.done(call).await.unwrap();
    }
    let mirrors = scene.mesh.stats().mirrors;
    let counts = (mirrors.begun, mirrors.in_flight, mirrors.dropped);
    assert_eq!(counts, (256, 256, 45));
    clock.advance(14_900).await;
    assert!(!arrival.answer.is_closed());
    clock.advance(200).await;
    let ended = || scene.mesh.stats().mirrors.in_flight == 0;
    clock.until("all mirrors to end", ended).await;
}

#[tokio::test]
async fn policies_of_the_host_and_the_configuration_are_for_routes_without_any() {
    for level in ["virtual host", "route configuration"] {
        let mut v2 = Stage::start().await;
        let scene = scene("HTTP", v2.backend.address, |rules| {
            action(rules).request_mirror_policies.clear();
            match level {
                "virtual host" => host(rules).request_mirror_policies = vec![policy(V2)],
                _ => rules.request_mirror_policies = vec![policy(V2)],
            }
        })
        .await;
        assert_eq!(scene.get().await, "v1 0");
        v2.arrival().await.answer(level);
        // A route's own take their place.
        scene
            .ruled
            .push(|rules| action(rules).request_mirror_policies = vec![policy(V1)]);
        until("the change", || async {
            let before = scene.edge(V1).requests;
            scene.get().await;
            scene.edge(V1).requests > before + 1
        })
        .await;
    }
}
