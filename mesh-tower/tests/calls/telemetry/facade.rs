//! The same numbers through the `metrics` facade.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use super::{REQUESTS, count, requests, reviews};
use crate::support::{Folder, URL};

/// Keeps what it is told: counts by key, and samples.
#[derive(Default)]
struct Notes {
    counters: Mutex<BTreeMap<String, Arc<Cell>>>,
    samples: Arc<Samples>,
}

#[derive(Default)]
struct Cell(Mutex<u64>);

#[derive(Default)]
struct Samples(Mutex<Vec<f64>>);

impl CounterFn for Cell {
    fn increment(&self, by: u64) {
        *self.0.lock().unwrap() += by;
    }

    fn absolute(&self, _: u64) {
        unreachable!("an edge that was forgotten begins again, and a count must not fall");
    }
}

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl Recorder for Notes {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters.lock().unwrap();
        assert_eq!((key.name(), key.labels().count()), (REQUESTS, 25));
        Counter::from_arc(Arc::clone(counters.entry(key.to_string()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        unreachable!("there are none");
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::clone(&self.samples))
    }
}

impl Notes {
    fn counted(&self) -> Vec<u64> {
        let counters = self.counters.lock().unwrap();
        counters
            .values()
            .map(|cell| *cell.0.lock().unwrap())
            .collect()
    }
}

#[tokio::test]
async fn a_recorder_is_told_every_call_once() {
    let (address, _server) = reviews(Router::new()).await;
    let folder = Folder::reviews("HTTP", &[("v1", address)]);
    folder.split(&[("v1", 1)]);
    let mesh = folder.mesh(7);
    let (notes, mut bridge) = (Notes::default(), mesh.metrics_bridge());
    assert!(metrics::with_local_recorder(&notes, || bridge.flush()));
    assert!(notes.counted().is_empty());
    for calls in 1..=3_usize {
        let response = mesh.client().get(URL).await.unwrap();
        response.into_body().bytes().await.unwrap();
        // The second time there is nothing new.
        for _ in 0..2 {
            metrics::with_local_recorder(&notes, || bridge.flush());
            assert_eq!(notes.counted(), [calls as u64]);
            assert_eq!(notes.samples.0.lock().unwrap().len(), calls);
        }
    }
    assert_eq!(count(&requests(&mesh), &[]), 3.0);
    let samples = notes.samples.0.lock().unwrap().clone();
    assert!(
        samples.iter().all(|ms| (0.5..=60_000.0).contains(ms)),
        "{samples:?}"
    );
}

#[tokio::test]
async fn the_bridge_ends_with_its_mesh() {
    let mesh = mesh_tower::Mesh::builder().build().unwrap();
    let mut bridge = mesh.metrics_bridge();
    assert!(bridge.flush());
    drop(mesh);
    assert!(!bridge.flush());
    bridge.run(std::time::Duration::from_secs(3600)).await;
}
