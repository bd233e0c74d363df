//! Headers that the rules add, set and remove, on the way there and back, at every level of a route
//! configuration.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::Request;
use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use http::HeaderMap;
use mesh_tower::{Body, MeshClient};

use crate::support::rules::{Ruled, action, append, entry, host, last, ruled, set};
use crate::support::{Backend, Folder, URL};

/// A backend that answers the headers it got, one a line, and some of its own.
async fn backend() -> Backend {
    let app = Router::new().fallback(|request: Request| async move {
        let lines: String = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
            .collect();
        (
            [
                ("x-kept", "backend"),
                ("x-removed", "backend"),
                ("x-set", "backend"),
            ],
            lines,
        )
    });
    Backend::serve("v1", app).await
}

/// All values of each header, as the backend saw them and as the caller got them.
async fn exchanged(
    client: &MeshClient,
    headers: &[(&str, &str)],
) -> (BTreeMap<String, Vec<String>>, HeaderMap) {
    let mut request = http::Request::get(URL);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client
        .send(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let got = response.headers().clone();
    let text = response.into_body().text().await.unwrap();
    let mut seen = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        seen.entry(name.to_owned())
            .or_default()
            .push(value.to_owned());
    }
    (seen, got)
}

async fn scene(change: impl FnOnce(&mut RouteConfiguration)) -> (Ruled, MeshClient) {
    let v1 = backend().await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let (ruled, mesh) = ruled(&folder, change).await;
    (ruled, mesh.client())
}

/// What one level of a configuration says.
type Level<'a> = (
    &'a mut Vec<HeaderValueOption>,
    &'a mut Vec<String>,
    &'a mut Vec<HeaderValueOption>,
    &'a mut Vec<String>,
);

macro_rules! level {
    ($of:expr) => {{
        let of = $of;
        (
            &mut of.request_headers_to_add,
            &mut of.request_headers_to_remove,
            &mut of.response_headers_to_add,
            &mut of.response_headers_to_remove,
        )
    }};
}

const LEVELS: [&str; 4] = [
    "weighted cluster",
    "route",
    "virtual host",
    "route configuration",
];

fn level<'a>(rules: &'a mut RouteConfiguration, name: &str) -> Level<'a> {
    match name {
        "weighted cluster" => level!(entry(action(rules))),
        "route" => level!(last(rules)),
        "virtual host" => level!(host(rules)),
        _ => level!(rules),
    }
}

#[tokio::test]
async fn every_level_changes_requests_and_responses() {
    for name in LEVELS {
        let (ruled, client) = scene(|rules| {
            let (to_add, to_remove, back_to_add, back_to_remove) = level(rules, name);
            to_add.extend([set("x-set", name), append("x-more", "rule")]);
            to_remove.push("x-removed".to_owned());
            back_to_add.extend([set("x-set", name), append("x-more", "rule")]);
            back_to_remove.push("x-removed".to_owned());
        })
        .await;
        let sent = [
            ("x-set", "caller"),
            ("x-more", "caller"),
            ("x-removed", "caller"),
            ("x-kept", "caller"),
        ];
        let (seen, got) = exchanged(&client, &sent).await;
        assert_eq!(ruled.nacks(), [""; 0]);
        assert_eq!(seen["x-set"], [name]);
        assert_eq!(seen["x-more"], ["caller", "rule"], "{name}");
        assert_eq!(seen.get("x-removed"), None, "{name}");
        assert_eq!(seen["x-kept"], ["caller"], "{name}");
        assert_eq!(got["x-set"], name);
        assert_eq!(got["x-more"], "rule", "{name}");
        assert_eq!(got.get("x-removed"), None, "{name}");
        assert_eq!(got["x-kept"], "backend", "{name}");
    }
}

#[tokio::test]
async fn without_rules_headers_pass_as_they_are() {
    let (_ruled, client) = scene(|_| {}).await;
    let sent = [("x-set", "caller"), ("x-removed", "caller")];
    let (seen, got) = exchanged(&client, &sent).await;
    assert_eq!(
        (&*seen["x-set"], &*seen["x-removed"]),
        (&["caller".to_owned()][..], &["caller".to_owned()][..])
    );
    assert_eq!(
        (&got["x-set"], &got["x-removed"]),
        (&"backend".parse().unwrap(), &"backend".parse().unwrap())
    );
    assert_eq!(seen.get("x-more"), None);
}

#[tokio::test]
async fn the_least_specific_level_has_the_last_word() {
    let (_ruled, client) = scene(|rules| {
        for name in LEVELS {
            let (to_add, _, back_to_add, _) = level(rules, name);
            to_add.push(set("x-level", name));
            back_to_add.push(set("x-level", name));
        }
    })
    .await;
    let (seen, got) = exchanged(&client, &[]).await;
    assert_eq!(seen["x-level"], ["route configuration"]);
    assert_eq!(got["x-level"], "route configuration");
}

#[tokio::test]
async fn values_are_made_of_the_request_the_route_and_the_response() {
    let (ruled, client) = scene(|rules| {
        last(rules).name = "canary".to_owned();
        let (to_add, _, back_to_add, _) = level(rules, "route");
        to_add.push(set(
            "x-by",
            "%REQ(x-user)% via %REQ(:path)% of %REQ(:authority)%",
        ));
        to_add.push(set("x-user", "changed"));
        back_to_add.push(set("x-tells", "%REQ(x-user)% %RESP(x-kept)%"));
        back_to_add.push(set("x-cluster", "%UPSTREAM_CLUSTER%"));
    })
    .await;
    let (seen, got) = exchanged(&client, &[("x-user", "jason")]).await;
    assert_eq!(ruled.nacks(), [""; 0]);
    assert_eq!(seen["x-by"], ["jason via /reviews/0 of reviews:9080"]);
    // What the response tells of the request is what was sent.
    assert_eq!(got["x-tells"], "changed backend");
    assert_eq!(
        got["x-cluster"],
        "outbound|9080||reviews.default.svc.cluster.local"
    );
}
