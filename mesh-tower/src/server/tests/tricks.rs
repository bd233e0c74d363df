//! Requests by which somebody might get at what policies keep from him, over connections of both versions of HTTP.

#[allow(clippy::too_many_lines, reason = "its functions are tables")]
mod heads;
#[allow(clippy::too_many_lines, reason = "its functions are tables")]
mod http1;
#[allow(clippy::too_many_lines, reason = "its functions are tables")]
mod http2;
mod naive;
#[allow(clippy::too_many_lines, reason = "its functions are tables")]
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use futures_util::{StreamExt, stream};

use http::{HeaderMap, HeaderName};
use mesh_core::server::Xfcc;
use naive::Served;

use super::scene::{Scene, open};
use crate::server::connection::{Began, Connection};
use crate::server::hygiene;

/// What becomes of a trick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is no request, or means two: 400, 404 for a target that is no path, 403 without a word for a tunnel, or the end of
    /// its stream or connection.
    Malformed,
    /// It is what the policy forbids.
    Policy,
    /// It is served, as what it is to everybody.
    Neutral,
    /// It is refused for nothing that it is: by this status, or by this code of HTTP/2. Nobody expects that.
    Astray(u32),
}

/// In both versions of HTTP together.
const CLASSES: usize = 51;

type Expected = &'static [Outcome];

const MALFORMED: Expected = &[Outcome::Malformed];
const POLICY: Expected = &[Outcome::Policy];
const NEUTRAL: Expected = &[Outcome::Neutral];
/// Whichever: the version of HTTP or its library says. What is served is judged all the same.
const ANY: Expected = &[Outcome::Malformed, Outcome::Policy, Outcome::Neutral];

/// Tricks of one class that have one end.
struct Row<T> {
    class: &'static str,
    expected: Expected,
    tricks: Vec<T>,
}

fn row<T>(class: &'static str, expected: Expected, tricks: impl Into<Vec<T>>) -> Row<T> {
    let tricks = tricks.into();
    assert!(!tricks.is_empty(), "{class}");
    Row {
        class,
        expected,
        tricks,
    }
}

impl<T> Row<T> {
    fn map<U>(self, make: impl FnMut(T) -> U) -> Row<U> {
        Row {
            class: self.class,
            expected: self.expected,
            tricks: self.tricks.into_iter().map(make).collect(),
        }
    }
}

struct Stage {
    scene: Scene,
    served: Served,
    address: SocketAddr,
}

impl Stage {
    async fn new() -> Self {
        let scene = Scene::ruled(&naive::policies());
        let served = Served::default();
        let listener = scene.mesh.listen("127.0.0.1:0").await.unwrap();
        let (address, app) = (listener.local_addr(), naive::app(&served));
        tokio::spawn(async move { listener.serve(app).await.unwrap() });
        Self {
            scene,
            served,
            address,
        }
    }

    /// What was served since, that is forbidden.
    fn served(&self) -> Vec<String> {
        std::mem::take(&mut *self.served.lock().unwrap())
    }

    async fn http1(&self, row: &Row<Vec<u8>>) -> Vec<Outcome> {
        let asking = row
            .tricks
            .iter()
            .map(|trick| http1::ask(self.address, trick));
        stream::iter(asking).buffered(16).collect().await
    }

    /// On one connection while it lasts.
    async fn http2(&self, row: &Row<http2::Head>) -> Vec<Outcome> {
        let mut wire = http2::Wire::open(self.address).await;
        let mut all = Vec::new();
        for trick in &row.tricks {
            if !wire.is_open() {
                wire = http2::Wire::open(self.address).await;
            }
            all.push(wire.ask(trick).await);
        }
        all
    }
}

/// Those that ended otherwise than they should.
fn astray<T>(row: &Row<T>, outcomes: &[Outcome], told: impl Fn(&T) -> String) -> Vec<String> {
    let all = row.tricks.iter().zip(outcomes);
    let wrong = all.filter(|(_, outcome)| !row.expected.contains(outcome));
    wrong
        .map(|(trick, outcome)| format!("{}: {outcome:?}: {}", row.class, told(trick)))
        .collect()
}

fn bytes(trick: &[u8]) -> String {
    trick.escape_ascii().take(300).map(char::from).collect()
}

fn frames(trick: &http2::Head) -> String {
    trick.to_string().chars().take(300).collect()
}

#[tokio::test]
async fn none_gets_through() {
    let stage = Stage::new().await;
    let (mut count, mut classes, mut wrong) = (0, BTreeSet::new(), Vec::new());
    for row in http1::all() {
        let outcomes = stage.http1(&row).await;
        wrong.extend(astray(&row, &outcomes, |trick| bytes(trick)));
        wrong.extend(stage.served());
        count += outcomes.len();
        classes.insert(row.class);
    }
    for row in http2::all() {
        let outcomes = stage.http2(&row).await;
        wrong.extend(astray(&row, &outcomes, frames));
        wrong.extend(stage.served());
        count += outcomes.len();
        classes.insert(row.class);
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} of {count}",
        wrong.join("\n"),
        wrong.len()
    );
    // What SECURITY.md says of them (T8).
    assert_eq!((count > 3_000, classes.len()), (true, CLASSES), "{count}");
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let said = std::fs::read_to_string(manifest.join("../SECURITY.md")).unwrap();
    let words = format!("Over 3,000 tricks in {CLASSES} classes");
    assert!(said.contains(&words), "SECURITY.md does not say {words:?}");
}

/// What a caller may not say of itself is taken off by two steps, and each is needed.
#[tokio::test]
async fn each_step_of_hygiene_takes_something_off() {
    let scene = Scene::ruled(&naive::policies());
    let door = &scene.mesh.shared.door;
    let permit = door.security.inbound("test").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 9080));
    let connection = Connection::enter(door, address, Began::Plaintext(permit)).unwrap();
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    for line in heads::headers() {
        if !["x-envoy", "x-forwarded-client-cert"].contains(&line.class) {
            continue;
        }
        *compared.entry(line.class).or_default() += line.tricks.len();
        for (name, value) in line.tricks {
            let name: HeaderName = name.parse().unwrap();
            let sent: HeaderMap = [(name, value.parse().unwrap())].into_iter().collect();
            let left = |clean: &dyn Fn(&mut HeaderMap)| {
                let mut headers = sent.clone();
                clean(&mut headers);
                headers.len()
            };
            let is_envoys = line.class == "x-envoy";
            let first = left(&|headers| hygiene::reserved(headers, false));
            let second =
                left(&|headers| hygiene::client_cert(headers, &connection, Xfcc::AppendForward));
            let both =
                left(&|headers| hygiene::clean(headers, &connection, Xfcc::AppendForward, false));
            assert_eq!(
                (first == 0, second == 0, both),
                (is_envoys, !is_envoys, 0),
                "{sent:?}"
            );
        }
    }
    // Classes under other names would leave nothing to compare.
    let due = [("x-envoy", 110), ("x-forwarded-client-cert", 10)];
    assert_eq!(compared, due.into());
}

/// Classes of which something is served where nobody asks for policies. The others are refused by HTTP itself, or nothing to
/// anybody.
const BITE: [&str; 32] = [
    "NUL and controls",
    "a denied header",
    "absolute targets",
    "backslashes",
    "chunks",
    "compositions",
    "cookies",
    "dot segments",
    "double slashes",
    "escaped dots",
    "escaped letters",
    "escaped slashes",
    "fragments",
    "framing",
    "header lines",
    "host without authority",
    "hosts of others",
    "hosts that are none",
    "methods alone",
    "methods in another case",
    "no host",
    "parameters",
    "queries",
    "request lines",
    "schemes",
    "several hosts",
    "target against host",
    "targets of other forms",
    "tunnels",
    "upgrades",
    "x-envoy",
    "x-forwarded-client-cert",
];

/// The control: the same tricks without rules.
#[tokio::test]
async fn without_rules_they_do() {
    let stage = Stage::new().await;
    stage.scene.publish(&open());
    let mut served: BTreeMap<&str, usize> = BTreeMap::new();
    for row in http1::all() {
        stage.http1(&row).await;
        *served.entry(row.class).or_default() += stage.served().len();
    }
    for row in http2::all() {
        stage.http2(&row).await;
        *served.entry(row.class).or_default() += stage.served().len();
    }
    for class in BITE {
        assert!(served[class] > 0, "{class} is no trick: {served:?}");
    }
}
