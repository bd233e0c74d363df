//! What the configuration itself answers: redirects and direct responses.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RouteConfiguration,
};
use http::{Request, Response, StatusCode};
use mesh_tower::{Body, CallInfo, MeshClient};

use crate::support::rules::{Ruled, last, ruled, set};
use crate::support::{Backend, Folder, URL, until};

async fn scene(change: impl FnOnce(&mut RouteConfiguration)) -> (Ruled, MeshClient) {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let (ruled, mesh) = ruled(&folder, change).await;
    (ruled, mesh.client().with_call_info())
}

fn direct(status: u32, body: &str) -> Option<Action> {
    Some(Action::DirectResponse(DirectResponseAction {
        status,
        body: Some(DataSource {
            specifier: Some(Specifier::InlineString(body.to_owned())),
            ..DataSource::default()
        }),
        ..DirectResponseAction::default()
    }))
}

async fn sent(client: &MeshClient, request: http::request::Builder) -> Response<Body> {
    client
        .send(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_redirect_is_an_answer_with_a_location() {
    let (ruled, client) = scene(|rules| {
        let route = last(rules);
        route.response_headers_to_add = vec![set("x-by", "rule")];
        route.action = Some(Action::Redirect(RedirectAction {
            host_redirect: "new.example".to_owned(),
            path_rewrite_specifier: Some(PathRewriteSpecifier::PathRedirect("/moved".to_owned())),
            response_code: RedirectResponseCode::PermanentRedirect.into(),
            ..RedirectAction::default()
        }));
    })
    .await;
    let response = client.get("http://reviews:9080/old?q=1").await.unwrap();
    assert_eq!(ruled.nacks(), [""; 0]);
    assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(
        header(&response, "location"),
        Some("http://new.example/moved?q=1")
    );
    assert_eq!(header(&response, "x-by"), Some("rule"));
    assert_eq!(header(&response, "content-type"), None);
    let info = response.extensions().get::<CallInfo>().unwrap();
    assert_eq!(
        (&*info.cluster, info.endpoint, info.attempts),
        ("", None, 0)
    );
    assert_eq!(response.into_body().bytes().await.unwrap().len(), 0);

    // The client does not follow it, and without the rule the call goes through.
    let (_ruled, client) = scene(|_| {}).await;
    assert_eq!(client.get(URL).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_direct_response_is_text_unless_a_rule_says_otherwise() {
    let (ruled, client) = scene(|rules| last(rules).action = direct(418, "teapot")).await;
    let response = client.get(URL).await.unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(header(&response, "content-type"), Some("text/plain"));
    assert_eq!(header(&response, "content-length"), Some("6"));
    assert_eq!(response.into_body().text().await.unwrap(), "teapot");

    ruled.push(|rules| {
        let route = last(rules);
        route.action = direct(418, "{}");
        route.response_headers_to_add = vec![set("content-type", "application/json")];
    });
    until("the other type", || async {
        header(&client.get(URL).await.unwrap(), "content-type") == Some("application/json")
    })
    .await;
}

#[tokio::test]
async fn a_direct_response_has_a_body_only_where_http_has_one() {
    let (_ruled, client) = scene(|rules| last(rules).action = direct(418, "teapot")).await;
    let head = sent(&client, Request::head(URL)).await;
    assert_eq!(head.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(
        header(&head, "content-length"),
        Some("6"),
        "as a GET would have it"
    );
    assert_eq!(head.into_body().bytes().await.unwrap().len(), 0);

    let (_ruled, client) = scene(|rules| last(rules).action = direct(204, "nothing")).await;
    let none = client.get(URL).await.unwrap();
    assert_eq!(none.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        (
            header(&none, "content-length"),
            header(&none, "content-type")
        ),
        (None, None)
    );
    assert_eq!(none.into_body().bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_grpc_client_is_answered_in_its_own_terms() {
    for (status, code) in [(503, "14"), (403, "7"), (404, "12"), (418, "2")] {
        let (_ruled, client) =
            scene(|rules| last(rules).action = direct(status, "closed today")).await;
        let asking = Request::post(URL).header("content-type", "application/grpc+proto");
        let response = sent(&client, asking).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "content-type"), Some("application/grpc"));
        assert_eq!(header(&response, "grpc-status"), Some(code));
        let read = tonic::Status::from_header_map(response.headers()).unwrap();
        assert_eq!(read.message(), "closed today");
        assert_eq!(response.into_body().bytes().await.unwrap().len(), 0);

        // gRPC-Web is not gRPC.
        let asking = Request::post(URL).header("content-type", "application/grpc-web");
        assert_eq!(sent(&client, asking).await.status().as_u16(), status as u16);
    }
}
