//! Backends that tell what they saw, clients of hyper-util, and one that only takes notes.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request as Received;
use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::util::pack_any;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mesh_istio::Config;
use mesh_tower::{Body, EdgeStats, Mesh, Outbound};
use prost::Message;
use tower_layer::Layer;
use tower_service::Service;

use crate::support::ads::Scripted;
use crate::support::{Backend, Folder, node};

pub(crate) const SEED: u64 = 0x0b0d;

/// What an application has that knows of no mesh.
pub(crate) type Plain = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn plain() -> Plain {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn outbound(mesh: &Mesh) -> Outbound<Plain> {
    mesh.outbound().layer(plain())
}

pub(crate) fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

/// A backend that answers its name, the host and the path that it was asked for, and the header `x-by`.
pub(crate) async fn telling(name: &'static str) -> Backend {
    let app = Router::new().fallback(move |request: Received| async move {
        let header = |name| {
            let values = request.headers().get_all(name).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
            values.join("+")
        };
        let path = request.uri().path_and_query().unwrap();
        format!("{name} {} {path} {}", header("host"), header("x-by"))
    });
    Backend::serve(name, app).await
}

/// Two versions of `reviews`.
pub(crate) async fn two() -> (Backend, Backend, Folder) {
    let (v1, v2) = (telling("v1").await, telling("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    (v1, v2, folder)
}

/// The mesh's rules for hosts that it does not know.
pub(crate) fn policy(folder: &Folder, mode: &str) {
    folder.write("mesh.yaml", &format!(
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: mesh }}\nspec: {{ outboundTrafficPolicy: {{ mode: {mode} }} }}\n"
    ));
}

/// A mesh under a control plane that demands TLS of all that the folder has.
pub(crate) async fn demanding_tls(folder: &Folder) -> (Scripted, Mesh) {
    let socket = || TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: None,
    };
    scripted(
        folder,
        |cluster| cluster.transport_socket = Some(socket()),
        |_| {},
    )
    .await
}

/// A mesh under a control plane with the folder's rules, whose clusters and routes of `reviews` are changed.
pub(crate) async fn scripted(
    folder: &Folder,
    clusters: impl Fn(&mut Cluster),
    routes: impl FnOnce(&mut RouteConfiguration),
) -> (Scripted, Mesh) {
    let config = Config::load(folder.path()).unwrap().config;
    let mut resources = config.resources(&node());
    for (name, held) in &mut resources.clusters {
        if name.starts_with("outbound|") {
            let mut cluster = Cluster::decode(&*held.value).unwrap();
            clusters(&mut cluster);
            *held = pack_any(cluster);
        }
    }
    let held = resources.routes.get_mut("9080").unwrap();
    let mut table = RouteConfiguration::decode(&*held.value).unwrap();
    routes(&mut table);
    *held = pack_any(table);
    let (ads, address) = Scripted::start(resources).await;
    let builder = Mesh::builder().xds(address.to_string()).node(node());
    (ads, builder.seed(SEED).build().unwrap())
}

/// The edge to a cluster, and to its endpoints.
pub(crate) fn edges(mesh: &Mesh, cluster: &str) -> Vec<EdgeStats> {
    let of = |edge: &EdgeStats| &*edge.cluster == cluster;
    mesh.stats().edges.into_iter().filter(of).collect()
}

/// A client that notes what it is to send and answers nothing. It insists on being asked whether it is ready.
#[derive(Default)]
pub(crate) struct Notes {
    seen: Arc<Mutex<Vec<String>>>,
    ready: bool,
}

impl Notes {
    /// URI and `Host` of each request.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Clone for Notes {
    fn clone(&self) -> Self {
        Self {
            seen: Arc::clone(&self.seen),
            ready: false,
        }
    }
}

impl<B> Service<Request<B>> for Notes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "nobody asked");
        let host = request.headers().get("host");
        let host = host.map_or("-", |host| host.to_str().unwrap());
        let note = format!("{} {} {host}", request.method(), request.uri());
        self.seen.lock().unwrap().push(note);
        ready(Ok(Response::default()))
    }
}
