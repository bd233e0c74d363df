//! productpage's one counter: `request_result_total{destination_app,response_code}`, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;

/// How calls ended, by service and status.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl Metrics {
    /// Counts a call.
    pub fn count(&self, service: &'static str, status: StatusCode) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry((service, status.as_u16()))
            .or_default() += 1;
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut out = String::from("# HELP request_result_total Results of requests\n");
        out.push_str("# TYPE request_result_total counter\n");
        for ((service, code), count) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let labels = format!("destination_app=\"{service}\",response_code=\"{code}\"");
            let _ = writeln!(out, "request_result_total{{{labels}}} {count}");
        }
        out
    }
}
