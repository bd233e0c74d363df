//! A warm call allocates a fixed number of times, whatever the size of the configuration.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::net::SocketAddr;
use std::sync::mpsc;

use allocation_counter::measure;
use support::{Backend, Folder, URL};
use tokio::runtime::Builder;

/// What a warm call over HTTP/1.1 may allocate, hyper's own share included: the one boxed future,
/// the Host header, the lease of the connection, and what hyper needs for a request and a response.
const MOST: u64 = 12;

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

/// Allocations of each of 50 warm calls.
fn allocations(routes: usize) -> Vec<u64> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let folder = Folder::reviews("HTTP", &[("v1", backend())]);
    let mut http: String = (0..routes)
        .map(|at| format!("  - match:\n    - uri: {{ prefix: /other/{at} }}\n    route:\n    - destination: {{ host: reviews }}\n"))
        .collect();
    http.push_str("  - route:\n    - destination: { host: reviews, subset: v1 }\n");
    folder.routes(&http);
    let client = runtime.block_on(async { folder.mesh(1).client() });
    let call = || {
        runtime.block_on(async {
            drop(
                client
                    .get(URL)
                    .await
                    .unwrap()
                    .into_body()
                    .bytes()
                    .await
                    .unwrap(),
            )
        })
    };
    (0..50).for_each(|_| call());
    (0..50).map(|_| measure(call).count_total).collect()
}

#[test]
fn a_warm_call_allocates_a_fixed_number_of_times() {
    let one = allocations(1);
    let many = allocations(1_000);
    println!("allocations per call: {one:?} with one route, {many:?} with 1,000");
    let usual = |counts: &[u64]| {
        let mut sorted = counts.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    assert_eq!(
        usual(&one),
        usual(&many),
        "the size of the configuration costs no allocation"
    );
    assert!(usual(&one) <= MOST, "{} allocations", usual(&one));
    assert!(usual(&one) > 4, "the counter counts");
}
