//! Bookinfo from outside: its services over real sockets, its ingress byte by byte, its launcher as a process.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
#[path = "bookinfo/certificates.rs"]
mod certificates;
#[path = "bookinfo/details.rs"]
mod details;
#[path = "bookinfo/ingress.rs"]
mod ingress;
#[cfg(target_os = "linux")]
#[path = "bookinfo/launcher.rs"]
mod launcher;
#[path = "bookinfo/outside.rs"]
mod outside;
#[cfg(target_os = "linux")]
#[path = "bookinfo/process.rs"]
mod process;
#[path = "bookinfo/productpage.rs"]
mod productpage;
#[path = "bookinfo/ratings.rs"]
mod ratings;
#[path = "bookinfo/reviews.rs"]
mod reviews;
#[path = "bookinfo/support.rs"]
mod support;
#[cfg(target_os = "linux")]
#[path = "bookinfo/tour.rs"]
mod tour;
