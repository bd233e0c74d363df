//! Edits under load: a hundred of them at 500 requests a second, and no request fails.
//!
//! A test program of its own, so that no other test takes its processors.
#![cfg(target_os = "linux")]
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "bookinfo/process.rs"]
mod process;

use std::path::Path;
use std::time::{Duration, Instant};

use bookinfo_rs::outside::Outside;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use process::{Launcher, PATIENCE};

const RATE: u32 = 500;

/// Requests at a steady rate: how many were sent, and what was wrong with those that failed.
fn load(url: String, mut stop: oneshot::Receiver<()>) -> JoinHandle<(usize, Vec<String>)> {
    tokio::spawn(async move {
        let client = Outside::default();
        let mut requests = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while stop.try_recv().is_err() {
            ticks.tick().await;
            let (client, url) = (client.clone(), url.clone());
            requests.spawn(async move {
                match client.get(&url, &HeaderMap::new()).await {
                    Ok(reply) if reply.status == StatusCode::OK => None,
                    Ok(reply) => Some(format!("{}: {}", reply.status, reply.text())),
                    Err(error) => Some(error.to_string()),
                }
            });
        }
        let results = requests.join_all().await;
        (results.len(), results.into_iter().flatten().collect())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_edits_at_500_a_second_fail_no_request() {
    let launcher = Launcher::start(&[]);
    let url = format!("{}/api/v1/products/0/reviews", launcher.url);
    let tasks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks");
    let edits = ["blue", "green"].map(|color| {
        let file = format!("virtual-service-reviews-{color}.yaml");
        let text = std::fs::read_to_string(tasks.join(&file)).unwrap();
        (file, text, format!("reviews-{color}"))
    });
    let (stop, stopped) = oneshot::channel();
    let started = Instant::now();
    let load = load(url.clone(), stopped);
    let client = Outside::default();
    for (file, text, rule) in edits.iter().cycle().take(100) {
        mesh_istio::apply(&launcher.folder, text, Path::new(file)).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = client.get(&url, &HeaderMap::new()).await.unwrap();
            if reply
                .headers
                .get("x-bookinfo-route")
                .is_some_and(|route| route == rule.as_str())
            {
                break;
            }
            assert!(Instant::now() < deadline, "{file} is not in force");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let took = started.elapsed();
    stop.send(()).unwrap();
    let (sent, failed) = load.await.unwrap();
    assert!(
        failed.is_empty(),
        "{} of {sent} failed, first: {}",
        failed.len(),
        failed[0]
    );
    let rate = f64::from(u32::try_from(sent).unwrap()) / took.as_secs_f64();
    assert!(
        rate > 0.9 * f64::from(RATE),
        "{sent} requests in {took:?} are no {RATE} a second"
    );
    eprintln!("{sent} requests, 100 edits in {took:?}");
}
