use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Method, Request, StatusCode};
use mesh_tower::layer::{InvalidRoutes, Routes, RoutesBuilder, Rule};
use mesh_tower::{BoxError, Error, Sent};
use tower::{Service, ServiceExt};

use crate::support::within_five_sigma;

/// Answers its name; ready only when it has been asked twice, and fails where it is called too early.
#[derive(Clone)]
struct Named {
    name: &'static str,
    asked: u8,
}

impl Service<Request<()>> for Named {
    type Response = (&'static str, Request<()>);
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.asked += 1;
        if self.name == "broken" {
            return Poll::Ready(Err("it is never ready".into()));
        }
        if self.asked < 2 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.asked) >= 2,
            "called before it was ready"
        );
        ready(Ok((self.name, request)))
    }
}

fn services(names: &[&'static str]) -> RoutesBuilder<Named> {
    names.iter().fold(Routes::builder(), |builder, name| {
        builder.service(*name, Named { name, asked: 0 })
    })
}

async fn chosen(routes: &Routes<Named>, request: Request<()>) -> Result<&'static str, BoxError> {
    routes.clone().oneshot(request).await.map(|(name, _)| name)
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let routes = services(&["v1", "v2", "v3", "broken"])
        .rule(Rule::path("/broken").to("broken"))
        .rule(Rule::path("/reviews/0").method(&Method::POST).to("v3"))
        .rule(
            Rule::prefix("/reviews")
                .header("end-user", "jason")
                .header("x-beta", "yes")
                .to("v2"),
        )
        .rule(Rule::prefix("/reviews").to("v1"))
        .build()
        .unwrap();
    for (method, uri, headers, name) in [
        (Method::GET, "http://any:1/reviews/0?a=b", &[][..], "v1"),
        (Method::GET, "/reviews/0", &[("end-user", "jason")], "v1"),
        (
            Method::GET,
            "/reviews/0",
            &[("end-user", "jason"), ("x-beta", "yes")],
            "v2",
        ),
        (
            Method::GET,
            "/reviews/0",
            &[("end-user", "json"), ("x-beta", "yes")],
            "v1",
        ),
        (Method::POST, "/reviews/0?a=b", &[], "v3"),
        (Method::POST, "/reviews/01", &[], "v1"),
    ] {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        assert_eq!(
            chosen(&routes, request).await.unwrap(),
            name,
            "{uri} {headers:?}"
        );
    }
    let request = Request::get("http://any:1/other").body(()).unwrap();
    let error = chosen(&routes, request).await.unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(
        (error.status(), error.flags(), error.sent()),
        (StatusCode::NOT_FOUND, "NR", Sent::NotSent)
    );
    let words = "404 NR: none of the 4 rules of these Routes matches GET any/other and its headers";
    assert!(error.to_string().contains(words), "{error}");

    let request = Request::get("/broken").body(()).unwrap();
    let error = chosen(&routes, request).await.unwrap_err();
    assert_eq!(error.to_string(), "it is never ready");
}

#[tokio::test]
async fn the_request_goes_on_as_it_is() {
    let routes = services(&["v1"])
        .rule(Rule::any().to("v1"))
        .build()
        .unwrap();
    let mut request = Request::put("/a/../b?c")
        .header("x-a", "b")
        .body(())
        .unwrap();
    request.extensions_mut().insert(7_u32);
    let (_, seen) = routes.oneshot(request).await.unwrap();
    assert_eq!(
        (seen.method(), seen.uri().to_string()),
        (&Method::PUT, "/a/../b?c".into())
    );
    assert_eq!(
        (seen.headers()["x-a"].as_bytes(), seen.extensions().get()),
        (&b"b"[..], Some(&7_u32))
    );
}

#[tokio::test]
async fn weights_split_and_seeds_repeat() {
    const SEED: u64 = 0xfeed;
    let build = || {
        let rule = Rule::any().split([("v1", 90), ("v2", 10), ("v3", 0)]);
        services(&["v1", "v2", "v3"])
            .rule(rule)
            .seed(SEED)
            .build()
            .unwrap()
    };
    let (one, two) = (build(), build());
    let mut counts = [0; 3];
    for _ in 0..1000 {
        let name = chosen(&one, Request::new(())).await.unwrap();
        assert_eq!(chosen(&two, Request::new(())).await.unwrap(), name);
        counts[["v1", "v2", "v3"]
            .iter()
            .position(|it| *it == name)
            .unwrap()] += 1;
    }
    println!("seed {SEED:#x}: {counts:?}");
    assert_eq!(counts[2], 0);
    assert!(within_five_sigma(counts[0], 1000, 0.9), "{counts:?}");
    assert!(!within_five_sigma(counts[0], 1000, 0.8), "{counts:?}");
}

#[test]
fn rules_that_cannot_be_followed_are_refused() {
    let built = |rule: Rule| {
        let builder = services(&["v1"]).rule(Rule::any().to("v1")).rule(rule);
        builder.build().unwrap_err()
    };
    let number = 2;
    let name = || "v9".to_owned();
    let no_service = InvalidRoutes::NoService {
        number,
        name: name(),
    };
    assert_eq!(built(Rule::any().to("v9")), no_service);
    assert_eq!(
        no_service.to_string(),
        "rule 2 leads to \"v9\", and no service is called that"
    );
    assert_eq!(built(Rule::any()), InvalidRoutes::Weights { number });
    assert_eq!(
        built(Rule::any().split([("v1", 0)])),
        InvalidRoutes::Weights { number }
    );
    let most = Rule::any().split([("v1", u32::MAX), ("v1", 1)]);
    assert_eq!(built(most), InvalidRoutes::Weights { number });
    for header in ["", "a b", ":status"] {
        let name = header.to_owned();
        let error = InvalidRoutes::Header { number, name };
        assert_eq!(built(Rule::any().header(header, "x").to("v1")), error);
    }
    let twice = services(&["v1", "v2", "v1"])
        .rule(Rule::any().to("v1"))
        .build();
    assert_eq!(twice.unwrap_err(), InvalidRoutes::Twice("v1".into()));
}
