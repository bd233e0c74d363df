//! A warm call allocates a fixed number of times, whatever the size of the configuration.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use allocation_counter::measure;
use mesh_tower::{Body, CallOptions};
use support::{Backend, Folder, URL};
use tokio::runtime::Builder;

/// What a warm call over HTTP/1.1 may allocate, hyper's own share included: the one boxed future,
/// the Host header, the lease of the connection, and what hyper needs for a request and a response.
const MOST: u64 = 11;

/// What a warm call over HTTP/2 may allocate, h2's own share included: the one boxed future, the lease of the
/// connection, the content-length, and what h2 needs for a stream and for the heads of both sides.
const MOST_HTTP2: u64 = 14;

/// The backend lives on a thread of its own, so that only the client is counted.
fn backend() -> SocketAddr {
    let (tell, address) = mpsc::channel();
    std::thread::spawn(move || {
        Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                tell.send(Backend::start("v1").await.address).unwrap();
                std::future::pending::<()>().await;
            });
    });
    address.recv().unwrap()
}

/// What a limit of its time adds: the timer, and what it shares with the request's body and the attempts.
const LIMIT: u64 = 2;

/// Allocations of each of 50 warm calls.
fn allocations(routes: usize) -> Vec<u64> {
    measured(routes, &|| {
        http::Request::get(URL).body(Body::empty()).unwrap()
    })
}

fn measured(routes: usize, request: &dyn Fn() -> http::Request<Body>) -> Vec<u64> {
    measured_over("HTTP", routes, request)
}

fn measured_over(
    protocol: &str,
    routes: usize,
    request: &dyn Fn() -> http::Request<Body>,
) -> Vec<u64> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let folder = Folder::reviews(protocol, &[("v1", backend())]);
    let mut http: String = (0..routes)
        .map(|at| format!("  - match:\n    - uri: {{ prefix: /other/{at} }}\n    route:\n    - destination: {{ host: reviews }}\n"))
        .collect();
    http.push_str("  - route:\n    - destination: { host: reviews, subset: v1 }\n");
    folder.routes(&http);
    let client = runtime.block_on(async { folder.mesh(1).client() });
    let call = |request| {
        runtime.block_on(async {
            let response = client.send(request).await.unwrap();
            drop(response.into_body().bytes().await.unwrap());
        })
    };
    (0..50).for_each(|_| call(request()));
    (0..50)
        .map(|_| measure(|| call(request())).count_total)
        .collect()
}

fn usual(counts: &[u64]) -> u64 {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[test]
fn a_warm_call_allocates_a_fixed_number_of_times() {
    let one = allocations(1);
    let many = allocations(1_000);
    println!("allocations per call: {one:?} with one route, {many:?} with 1,000");
    assert_eq!(
        usual(&one),
        usual(&many),
        "the size of the configuration costs no allocation"
    );
    assert!(usual(&one) <= MOST, "{} allocations", usual(&one));
    assert!(usual(&one) > 4, "the counter counts");
}

#[test]
fn a_warm_call_over_http_2_allocates_a_fixed_number_of_times() {
    let message = || {
        let body = Body::from(bytes::Bytes::from_static(b"message"));
        http::Request::post(URL).body(body).unwrap()
    };
    let counts = measured_over("HTTP2", 1, &message);
    println!("allocations per call over HTTP/2: {counts:?}");
    assert!(usual(&counts) <= MOST_HTTP2, "{}", usual(&counts));
    assert!(usual(&counts) > 4, "the counter counts");
}

#[test]
fn a_limit_of_its_time_costs_a_call_two_allocations() {
    let limited = || {
        let mut request = http::Request::get(URL).body(Body::empty()).unwrap();
        let options = CallOptions::new().timeout(Duration::from_secs(60));
        request.extensions_mut().insert(options);
        request
    };
    let unlimited = || {
        let mut request = http::Request::get(URL).body(Body::empty()).unwrap();
        request.extensions_mut().insert(CallOptions::new());
        request
    };
    let (with, without) = (
        usual(&measured(1, &limited)),
        usual(&measured(1, &unlimited)),
    );
    assert_eq!(with, without + LIMIT);
}
