//! Traces join by headers alone, without a tracer.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::any;
use http::Request;
use mesh_tower::{Body, Mesh, MeshClient, Propagation};

use crate::support::outside::Names;
use crate::support::{Backend, Folder, URL, node};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn told(headers: &HeaderMap) -> String {
    let told = headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.starts_with("trace") || name.starts_with("x-") || name == "b3"
    });
    let mut told: Vec<String> = told
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    told.sort();
    told.join(" ")
}

/// A service that calls `reviews` and answers what that was told, and the mesh that it is in.
async fn chain(
    propagation: Option<Propagation>,
    sets: &'static [(&str, &str)],
) -> (MeshClient, String, Vec<Mesh>) {
    let echo = Router::new().fallback(any(|headers: HeaderMap| async move { told(&headers) }));
    let backend = Backend::serve("v1", echo).await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    let mut builder = Mesh::builder()
        .yaml(folder.path())
        .node(node())
        .resolver(Names::default());
    if let Some(propagation) = propagation {
        builder = builder.propagation(propagation);
    }
    let mesh = builder.build().unwrap();
    let handler = move |State(client): State<MeshClient>| async move {
        let mut request = Request::get(URL);
        for (name, value) in sets {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        response.into_body().text().await.unwrap()
    };
    let app = Router::new()
        .fallback(any(handler))
        .with_state(mesh.client());
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr());
    tokio::spawn(listener.serve(app));
    let direct = Mesh::builder().direct().build().unwrap();
    (direct.client(), url, vec![mesh, backend.mesh, direct])
}

async fn ask(
    propagation: Option<Propagation>,
    sets: &'static [(&str, &str)],
    headers: &[(&str, &str)],
) -> String {
    let (client, url, _meshes) = chain(propagation, sets).await;
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client
        .send(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    response.into_body().text().await.unwrap()
}

#[tokio::test]
async fn headers_of_a_request_go_on_with_the_calls_of_its_task() {
    let headers = [
        ("traceparent", PARENT),
        ("tracestate", "a=1"),
        ("b3", "0"),
        ("x-request-id", "id"),
        ("x-other", "stays"),
    ];
    let joined = async |propagation| ask(propagation, &[], &headers).await;
    let w3c = format!("traceparent={PARENT} tracestate=a=1");
    assert_eq!(
        joined(Some(Propagation::All)).await,
        format!("b3=0 {w3c} x-request-id=id")
    );
    assert_eq!(
        joined(Some(Propagation::W3c)).await,
        format!("{w3c} x-request-id=id")
    );
    assert_eq!(joined(Some(Propagation::B3)).await, "b3=0 x-request-id=id");
    // Negative control: nothing goes on by itself.
    assert_eq!(joined(None).await, "");
}

#[tokio::test]
async fn what_the_application_sets_itself_stays() {
    let told = ask(
        Some(Propagation::All),
        &[("b3", "1"), ("x-request-id", "mine")],
        &[("traceparent", PARENT), ("x-request-id", "theirs")],
    );
    assert_eq!(told.await, "b3=1 x-request-id=mine");
}

#[tokio::test]
async fn a_request_without_an_id_gets_a_uuid() {
    let told = ask(Some(Propagation::All), &[], &[]).await;
    let id = told.strip_prefix("x-request-id=").unwrap();
    let form: String = id
        .chars()
        .map(|c| if c.is_ascii_hexdigit() { 'x' } else { c })
        .collect();
    assert_eq!(form, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    assert_eq!(id.as_bytes()[14], b'4', "version 4");
    assert!(
        matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'),
        "{id}"
    );
    assert_ne!(told, ask(Some(Propagation::All), &[], &[]).await);
}
