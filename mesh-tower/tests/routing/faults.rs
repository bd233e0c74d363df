//! Faults that the rules inject: answers in place of calls, and delays before them.

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::route_action::MaxStreamDuration;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, RouteConfiguration, header_matcher::HeaderMatchSpecifier, route,
};
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::{
    FaultDelaySecifier, HeaderDelay,
};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::fault_abort::{
    ErrorType, HeaderAbort,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use http::{Request, Response, StatusCode};
use mesh_tower::{Body, CallInfo, CallOptions, Error, Mesh, MeshClient, Sent};
use tokio::task::JoinHandle;

use crate::support::faults::{abort, delay, delayed, filters};
use crate::support::frozen::Frozen;
use crate::support::rules::{Ruled, action, entry, host, last, millis, ruled, set};
use crate::support::stage::Stage;
use crate::support::{Backend, Folder, URL, text_of, within_five_sigma};

const HTTP: ErrorType = ErrorType::HttpStatus(418);
const INJECTED: (StatusCode, &str) = (StatusCode::IM_A_TEAPOT, "fault filter abort");
const SERVED: (StatusCode, &str) = (StatusCode::OK, "v1 HTTP/1.1");

struct Scene {
    mesh: Mesh,
    ruled: Ruled,
    _folder: Folder,
    _backend: Backend,
}

async fn scene(change: impl FnOnce(&mut RouteConfiguration)) -> Scene {
    let backend = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    let (ruled, mesh) = ruled(&folder, change).await;
    Scene {
        mesh,
        ruled,
        _folder: folder,
        _backend: backend,
    }
}

async fn of_route(fault: HttpFault) -> Scene {
    scene(|rules| last(rules).typed_per_filter_config = filters(fault)).await
}

async fn asked(client: &MeshClient, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let mut request = Request::get(URL);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    text_of(client.send(request).await.unwrap()).await
}

fn is(got: &(StatusCode, String), wanted: (StatusCode, &str)) {
    assert_eq!((got.0, got.1.as_str()), wanted);
}

#[tokio::test]
async fn an_abort_is_an_answer_and_nothing_is_sent() {
    let scene = of_route(abort(HTTP, 100)).await;
    let client = scene.mesh.client().with_call_info();
    let response = client.get(URL).await.unwrap();
    let info: CallInfo = response.extensions().get::<CallInfo>().cloned().unwrap();
    assert_eq!((info.flags, info.attempts, info.endpoint), ("FI", 0, None));
    assert_eq!(response.headers()["content-type"], "text/plain");
    is(&text_of(response).await, INJECTED);
    let stats = scene.mesh.stats();
    assert!(stats.edges.iter().all(|edge| edge.requests == 0));
    assert_eq!((stats.faults.aborted, stats.faults.active), (1, 0));
    assert_eq!(scene.ruled.nacks(), [""; 0]);
}

#[tokio::test]
async fn an_abort_needs_no_cluster_and_has_the_route_s_response_headers() {
    let scene = scene(|rules| {
        last(rules).typed_per_filter_config = filters(abort(HTTP, 100));
        last(rules).response_headers_to_add = vec![set("x-route", "r")];
        entry(action(rules)).name = "outbound|9080||nowhere".to_owned();
    })
    .await;
    let response = scene.mesh.client().get(URL).await.unwrap();
    assert_eq!(response.headers()["x-route"], "r");
    is(&text_of(response).await, INJECTED);
}

#[tokio::test]
async fn a_grpc_status_is_for_grpc_and_success_for_others() {
    let scene = of_route(abort(ErrorType::GrpcStatus(8), 100)).await;
    let client = scene.mesh.client();
    is(
        &asked(&client, &[]).await,
        (StatusCode::OK, "fault filter abort"),
    );
    let request = Request::post(URL).header("content-type", "application/grpc");
    let request = request.body(Body::empty()).unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "8");
    // Percent-encoded, as gRPC has it.
    let message = response.headers()["grpc-message"].to_str().unwrap();
    assert_eq!(message.replace("%20", " "), "fault filter abort");
    is(&text_of(response).await, (StatusCode::OK, ""));
}

#[tokio::test]
async fn a_percentage_of_calls_is_aborted() {
    const ALL: usize = 1000;
    let mut counts = Vec::new();
    for of in [0, 30, 100] {
        let scene = of_route(abort(HTTP, of)).await;
        let client = scene.mesh.client();
        let mut aborted = 0;
        for _ in 0..ALL {
            aborted += usize::from(asked(&client, &[]).await.0 == INJECTED.0);
        }
        counts.push(aborted);
        assert_eq!(scene.mesh.stats().faults.aborted, aborted as u64);
    }
    assert_eq!((counts[0], counts[2]), (0, ALL));
    assert!(within_five_sigma(counts[1], ALL, 0.3), "{counts:?}");
    // The control: it would tell another share.
    assert!(!within_five_sigma(counts[1], ALL, 0.45), "{counts:?}");
}

#[tokio::test]
async fn the_most_specific_level_counts() {
    type Set = fn(&mut RouteConfiguration, HttpFault);
    let levels: [Set; 4] = [
        |rules, fault| rules.typed_per_filter_config = filters(fault),
        |rules, fault| host(rules).typed_per_filter_config = filters(fault),
        |rules, fault| last(rules).typed_per_filter_config = filters(fault),
        |rules, fault| entry(action(rules)).typed_per_filter_config = filters(fault),
    ];
    for (at, level) in levels.iter().enumerate() {
        let scene = scene(|rules| {
            for above in &levels[..at] {
                above(rules, abort(ErrorType::HttpStatus(500), 100));
            }
            level(rules, abort(HTTP, 100));
        })
        .await;
        is(&asked(&scene.mesh.client(), &[]).await, INJECTED);
        // One that injects nothing switches those above it off.
        scene.ruled.push(|rules| level(rules, HttpFault::default()));
        let client = scene.mesh.client();
        crate::support::until("the change", || async {
            let (status, text) = asked(&client, &[]).await;
            (status, text.as_str()) == SERVED
        })
        .await;
    }
}

#[tokio::test]
async fn direct_responses_have_faults_too() {
    let scene = scene(|rules| {
        let mut direct = route::Action::DirectResponse(Default::default());
        if let route::Action::DirectResponse(direct) = &mut direct {
            direct.status = 204;
        }
        last(rules).action = Some(direct);
        last(rules).typed_per_filter_config = filters(HttpFault {
            headers: vec![present("x-faulty")],
            ..abort(HTTP, 100)
        });
    })
    .await;
    let client = scene.mesh.client();
    is(&asked(&client, &[("x-faulty", "")]).await, INJECTED);
    is(&asked(&client, &[]).await, (StatusCode::NO_CONTENT, ""));
}

fn present(name: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..HeaderMatcher::default()
    }
}

#[tokio::test]
async fn conditions_choose_the_requests() {
    let name = "outbound|9080||reviews.default.svc.cluster.local";
    let of_cluster = |name: &str| HttpFault {
        upstream_cluster: name.to_owned(),
        ..abort(HTTP, 100)
    };
    let scene = of_route(of_cluster("another")).await;
    is(&asked(&scene.mesh.client(), &[]).await, SERVED);
    let scene = of_route(of_cluster(name)).await;
    is(&asked(&scene.mesh.client(), &[]).await, INJECTED);

    let scene = of_route(HttpFault {
        headers: vec![present("x-faulty")],
        downstream_nodes: vec!["n1".to_owned(), "n2".to_owned()],
        ..abort(HTTP, 100)
    })
    .await;
    let client = scene.mesh.client();
    let (faulty, node) = (("x-faulty", "1"), "x-envoy-downstream-service-node");
    is(&asked(&client, &[faulty, (node, "n2")]).await, INJECTED);
    is(&asked(&client, &[faulty, (node, "n3")]).await, SERVED);
    is(&asked(&client, &[faulty]).await, SERVED);
    is(&asked(&client, &[(node, "n2")]).await, SERVED);
}

#[tokio::test]
async fn headers_control_an_abort_only_where_the_rules_let_them() {
    let wanted = ("x-envoy-fault-abort-request", "418");
    let never = ("x-envoy-fault-abort-request-percentage", "0");
    let scene = of_route(abort(ErrorType::HeaderAbort(HeaderAbort {}), 100)).await;
    let client = scene.mesh.client();
    is(&asked(&client, &[wanted]).await, INJECTED);
    is(&asked(&client, &[]).await, SERVED);
    is(&asked(&client, &[wanted, never]).await, SERVED);
    is(
        &asked(&client, &[("x-envoy-fault-abort-request", "99")]).await,
        SERVED,
    );

    let scene = of_route(abort(HTTP, 0)).await;
    is(&asked(&scene.mesh.client(), &[wanted]).await, SERVED);
}

/// A route with faults to a backend that answers by hand, warm, with the clock stopped.
struct Slow {
    stage: Stage,
    clock: Frozen,
    mesh: Mesh,
    _ruled: Ruled,
    _folder: Folder,
}

type Call = JoinHandle<Result<Response<Body>, Error>>;

impl Slow {
    async fn open(change: impl FnOnce(&mut RouteConfiguration)) -> Self {
        let mut stage = Stage::start().await;
        let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
        let (ruled, mesh) = ruled(&folder, |rules| {
            action(rules).timeout = millis(0);
            change(rules);
            // The first call goes by another route.
            let mut warm = last(rules).clone();
            warm.typed_per_filter_config.clear();
            warm.r#match.as_mut().unwrap().headers = vec![present("x-warm")];
            host(rules).routes.insert(0, warm);
        })
        .await;
        let client = mesh.client();
        let warm = tokio::spawn(async move { asked(&client, &[("x-warm", "")]).await });
        stage.arrival().await.answer("warm");
        warm.await.unwrap();
        Self {
            stage,
            clock: Frozen::start(),
            mesh,
            _ruled: ruled,
            _folder: folder,
        }
    }

    async fn delayed(by: i64) -> Self {
        Self::open(|rules| last(rules).typed_per_filter_config = filters(delayed(by))).await
    }

    fn call(&self, change: impl FnOnce(&mut Request<Body>)) -> Call {
        let client = self.mesh.client().with_call_info();
        let mut request = Request::get(URL).body(Body::empty()).unwrap();
        change(&mut request);
        tokio::spawn(async move { client.send(request).await })
    }
}

#[tokio::test]
async fn a_delay_comes_before_the_call_and_is_not_the_route_s_time() {
    let mut scene = Slow::open(|rules| {
        last(rules).typed_per_filter_config = filters(delayed(1000));
        action(rules).timeout = millis(500);
    })
    .await;
    let call = scene.call(|_| {});
    scene.clock.advance(990).await;
    assert_eq!(scene.stage.waiting(), 0);
    let faults = scene.mesh.stats().faults;
    assert_eq!((faults.delayed, faults.active), (1, 1));
    scene.clock.advance(20).await;
    let arrival = scene.stage.arrival().await;
    scene.clock.advance(480).await;
    assert!(!call.is_finished(), "the route's timeout begins now");
    arrival.answer("late");
    let response = scene.clock.done(call).await.unwrap();
    assert_eq!(response.extensions().get::<CallInfo>().unwrap().flags, "DI");
    assert_eq!(scene.mesh.stats().faults.active, 0);

    let call = scene.call(|_| {});
    scene.clock.advance(1010).await;
    let _arrival = scene.stage.arrival().await;
    scene.clock.advance(510).await;
    let error = scene.clock.done(call).await.unwrap_err();
    assert_eq!((error.flags(), error.sent()), ("UT", Sent::MaybeProcessed));
    assert!(counted(&scene.mesh, "DI,UT"));
    assert!(!counted(&scene.mesh, "UT"), "nothing says that it waited");
}

/// Whether calls with exactly these response flags are in the metrics.
fn counted(mesh: &Mesh, flags: &str) -> bool {
    let label = format!("response_flags=\"{flags}\"");
    mesh.prometheus().contains(&label)
}

#[tokio::test]
async fn a_delay_is_the_caller_s_time() {
    let scene = Slow::delayed(1000).await;
    let call = scene.call(|request| {
        let options = CallOptions::new().timeout(Duration::from_millis(500));
        request.extensions_mut().insert(options);
    });
    scene.clock.advance(490).await;
    assert!(!call.is_finished());
    scene.clock.advance(20).await;
    let error = scene.clock.done(call).await.unwrap_err();
    assert_eq!((error.flags(), error.sent()), ("UT", Sent::NotSent));
    assert!(error.to_string().contains("\"reviews:9080\""), "{error}");
    scene.clock.advance(2000).await;
    assert_eq!(scene.stage.waiting(), 0);
}

#[tokio::test]
async fn max_stream_duration_counts_from_before_the_delay() {
    let mut scene = Slow::open(|rules| {
        last(rules).typed_per_filter_config = filters(delayed(600));
        action(rules).max_stream_duration = Some(MaxStreamDuration {
            max_stream_duration: millis(1000),
            ..MaxStreamDuration::default()
        });
    })
    .await;
    let call = scene.call(|_| {});
    scene.clock.advance(610).await;
    let _arrival = scene.stage.arrival().await;
    scene.clock.advance(380).await;
    assert!(!call.is_finished());
    scene.clock.advance(20).await;
    assert_eq!(scene.clock.done(call).await.unwrap_err().flags(), "DT");
}

#[tokio::test]
async fn a_caller_that_leaves_ends_his_delay() {
    let scene = Slow::delayed(1000).await;
    let call = scene.call(|_| {});
    scene.clock.advance(500).await;
    assert_eq!(scene.mesh.stats().faults.active, 1);
    call.abort();
    let gone = || scene.mesh.stats().faults.active == 0;
    scene.clock.until("the delay to end", gone).await;
    assert!(counted(&scene.mesh, "DI,DC"));
    scene.clock.advance(1000).await;
    assert_eq!(scene.stage.waiting(), 0);
}

#[tokio::test]
async fn an_abort_comes_after_the_delay() {
    let scene = Slow::open(|rules| {
        last(rules).typed_per_filter_config = filters(HttpFault {
            abort: abort(HTTP, 100).abort,
            ..delayed(1000)
        });
    })
    .await;
    let call = scene.call(|_| {});
    scene.clock.advance(990).await;
    assert!(!call.is_finished());
    scene.clock.advance(20).await;
    let response = scene.clock.done(call).await.unwrap();
    let flags = response.extensions().get::<CallInfo>().unwrap().flags;
    assert_eq!((response.status(), flags), (INJECTED.0, "DI,FI"));
}

#[tokio::test]
async fn a_header_controls_a_delay() {
    let by = FaultDelaySecifier::HeaderDelay(HeaderDelay {});
    let mut scene = Slow::open(|rules| {
        last(rules).typed_per_filter_config = filters(delay(by, 100));
    })
    .await;
    let call = scene.call(|request| {
        let wanted = http::HeaderValue::from_static("1000");
        request
            .headers_mut()
            .insert("x-envoy-fault-delay-request", wanted);
    });
    scene.clock.advance(990).await;
    assert_eq!(scene.stage.waiting(), 0);
    scene.clock.advance(20).await;
    scene.stage.arrival().await.answer("late");
    scene.clock.done(call).await.unwrap();
    let call = scene.call(|_| {});
    scene.stage.arrival().await.answer("at once");
    scene.clock.done(call).await.unwrap();
}

#[tokio::test]
async fn no_more_calls_than_max_active_faults_have_one() {
    let mut scene = Slow::open(|rules| {
        last(rules).typed_per_filter_config = filters(HttpFault {
            max_active_faults: Some(UInt32Value { value: 1 }),
            ..delayed(1000)
        });
    })
    .await;
    let first = scene.call(|_| {});
    let active = || scene.mesh.stats().faults.active == 1;
    scene.clock.until("the first to wait", active).await;
    let second = scene.call(|_| {});
    scene.stage.arrival().await.answer("second");
    scene.clock.done(second).await.unwrap();
    assert_eq!(scene.mesh.stats().faults.overflowed, 1);
    scene.clock.advance(1010).await;
    scene.stage.arrival().await.answer("first");
    scene.clock.done(first).await.unwrap();
    // There is room again.
    let third = scene.call(|_| {});
    scene.clock.until("the third to wait", active).await;
    third.abort();
}
