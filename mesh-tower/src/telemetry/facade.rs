//! Istio's metrics for the recorder of the `metrics` facade.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, SharedString, Unit, with_recorder};

use super::histogram::{BOUNDS, Reading};
use super::prometheus::{DURATION, DURATION_HELP, REQUESTS, REQUESTS_HELP};
use super::series::{LABELS, Values, read};
use crate::mesh::{Mesh, Shared};

const METADATA: Metadata<'static> = Metadata::new("mesh_tower", Level::INFO, Some(module_path!()));

impl Mesh {
    /// What hands Istio's metrics on to the recorder of the `metrics` facade, under the same names and labels as
    /// [`Self::prometheus`] has them; with feature `metrics`.
    ///
    /// Calls do not touch the facade, so a process without a recorder pays nothing. The bridge reads the mesh's own
    /// counts when [`flush`](MetricsBridge::flush) is called: before each scrape, or from time to time by
    /// [`run`](MetricsBridge::run). Install the recorder first.
    ///
    /// ```no_run
    /// # fn example(mesh: &mesh_tower::Mesh) {
    /// tokio::spawn(mesh.metrics_bridge().run(std::time::Duration::from_secs(10)));
    /// # }
    /// ```
    pub fn metrics_bridge(&self) -> MetricsBridge {
        MetricsBridge {
            shared: Arc::downgrade(&self.shared),
            told: BTreeMap::new(),
        }
    }
}

/// Hands a mesh's metrics on to the `metrics` facade; from [`Mesh::metrics_bridge`]. It does not keep the mesh.
#[derive(Debug)]
pub struct MetricsBridge {
    shared: Weak<Shared>,
    /// What the recorder knows already.
    told: BTreeMap<Values, Reading>,
}

impl MetricsBridge {
    /// Tells the recorder of this thread what has been counted: how many calls there were since the last
    /// time (`istio_requests_total`), and each of them at the upper bound of its bucket
    /// (`istio_request_duration_milliseconds`, 3600000 above the last): exact for a recorder with Envoy's buckets, too
    /// much by at most a bucket for others. A second bridge tells a recorder all of it a second time.
    ///
    /// Returns whether the mesh is still there.
    pub fn flush(&mut self) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        let series = read(&shared.edges);
        with_recorder(|recorder| {
            let unit = Some(Unit::Milliseconds);
            recorder.describe_counter(REQUESTS.into(), None, REQUESTS_HELP.into());
            recorder.describe_histogram(DURATION.into(), unit, DURATION_HELP.into());
            for (values, reading) in &series {
                let labels = labels(values);
                let requests = Key::from_parts(REQUESTS, labels.clone());
                let counter = recorder.register_counter(&requests, &METADATA);
                let durations = Key::from_parts(DURATION, labels);
                let histogram = recorder.register_histogram(&durations, &METADATA);
                // An edge that was forgotten begins again.
                let told = self.told.get(values).copied();
                let told = told.filter(|told| told.count() <= reading.count());
                let told = told.unwrap_or_default();
                counter.increment(reading.count() - told.count());
                for (at, count) in reading.since(&told) {
                    histogram.record_many(bound(at), count);
                }
            }
        });
        // Edges that are forgotten are forgotten here too.
        self.told = series;
        true
    }

    /// [`Self::flush`]es again and again, this long apart, until the mesh is gone.
    pub async fn run(mut self, every: Duration) {
        while self.flush() {
            tokio::time::sleep(every).await;
        }
    }
}

fn labels(values: &Values) -> Vec<Label> {
    let pairs = LABELS.into_iter().zip(values);
    pairs
        .map(|(name, value)| Label::new(name, SharedString::from(Arc::clone(value))))
        .collect()
}

/// The upper bound of a bucket in milliseconds; the last bucket has that of the one before.
fn bound(bucket: usize) -> f64 {
    let last = BOUNDS.len() - 1;
    BOUNDS[bucket.min(last)].parse().unwrap_or_default()
}
