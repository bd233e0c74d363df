//! Lines of the access log, as Istio writes them.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use http::Request;
use mesh_tower::{AccessLog, Body, Builder, Mesh};

use crate::support::outside::Names;
use crate::support::{Backend, Closed, Folder, URL, node, until};

/// What was written, line by line.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn wait(&self, count: usize) -> Vec<String> {
        until("the lines", async || self.lines().len() >= count).await;
        let lines = self.lines();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }
}

fn mesh(folder: &Folder, change: impl FnOnce(Builder) -> Builder) -> Mesh {
    let builder = Mesh::builder()
        .yaml(folder.path())
        .node(node())
        .resolver(Names::default());
    change(builder).build().unwrap()
}

fn request() -> Request<Body> {
    Request::post(format!("{URL}?page=1"))
        .header("user-agent", "curl/8 \"quoted\"")
        .header("x-request-id", "an-id")
        .header("x-forwarded-for", "10.1.2.3")
        .body(Body::from("seven !"))
        .unwrap()
}

async fn call(mesh: &Mesh, request: Request<Body>) -> StatusCode {
    let response = mesh.client().send(request).await.unwrap();
    let status = response.status();
    response.into_body().bytes().await.unwrap();
    status
}

/// The same line with the time of day and both times replaced, after a look at their form. `times` are their places
/// among the fields that blanks separate.
fn timeless(line: &str, times: [usize; 2]) -> String {
    let (start, rest) = line.split_once(' ').unwrap();
    let digits = |c: char| if c.is_ascii_digit() { '0' } else { c };
    let form: String = start.chars().map(digits).collect();
    assert_eq!(form, "[0000-00-00T00:00:00.000Z]");
    let mut fields: Vec<&str> = rest.split(' ').collect();
    for at in times {
        if fields[at] != "-" {
            fields[at].parse::<u64>().unwrap();
            fields[at] = "T";
        }
    }
    fields.join(" ")
}

/// Where duration and service time are, with one blank for each quoted blank before them: none.
const TIMES: [usize; 2] = [10, 11];

#[tokio::test]
async fn a_line_is_istios_for_a_call_and_for_a_request() {
    let served = Written::default();
    let server = Mesh::builder()
        .access_log(AccessLog::to(served.clone()))
        .build()
        .unwrap();
    let listener = server.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let app = Router::new().fallback(|| async { (StatusCode::IM_A_TEAPOT, "hello") });
    tokio::spawn(listener.serve(app));
    let folder = Folder::reviews("HTTP", &[("v1", address)]);
    let called = Written::default();
    let mesh = mesh(&folder, |it| it.access_log(AccessLog::to(called.clone())));
    assert_eq!(call(&mesh, request()).await, 418);

    let lines = called.wait(1).await;
    assert_eq!(
        timeless(&lines[0], TIMES),
        format!(
            r#""POST /reviews/0?page=1 HTTP/1.1" 418 - via_upstream - "-" 7 5 T T "10.1.2.3" "curl/8 \"quoted\"" "an-id" "reviews:9080" "{address}" outbound|9080||reviews.default.svc.cluster.local - - - - default"#
        )
    );
    let lines = served.wait(1).await;
    let line = timeless(&lines[0], TIMES);
    let (before, after) = line.split_once(" - - 127.0.0.1:").unwrap();
    assert_eq!(
        before,
        r#""POST /reviews/0?page=1 HTTP/1.1" 418 - via_upstream - "-" 7 5 T T "10.1.2.3" "curl/8 \"quoted\"" "an-id" "reviews:9080" "-" -"#
    );
    let (port, after) = after.split_once(' ').unwrap();
    assert!(port.parse::<u16>().is_ok(), "{line}");
    assert_eq!(after, "- -");
}

#[tokio::test]
async fn a_call_that_fails_says_why() {
    let closed = Closed::new();
    let folder = Folder::reviews("HTTP", &[("v1", closed.address)]);
    let called = Written::default();
    let mesh = mesh(&folder, |it| it.access_log(AccessLog::to(called.clone())));
    mesh.client().send(request()).await.unwrap_err();
    let line = &called.wait(1).await[0];
    let (head, rest) = line.split_once(r#"" 503 UF "#).unwrap();
    assert!(head.ends_with("HTTP/1.1"), "{line}");
    let details = "upstream_reset_before_response_started{connection_failure} - ";
    let rest = rest.strip_prefix(details).unwrap();
    // What the system says, and no blank in it.
    assert_ne!(&rest[..3], r#""-""#);
    let (failure, rest) = rest.split_once(' ').unwrap();
    assert!(failure.contains("refused"), "{line}");
    assert!(rest.starts_with("7 0 "), "{line}");
    assert!(rest.contains(&format!(r#""{}""#, closed.address)), "{line}");
}

#[tokio::test]
async fn json_has_istios_keys() {
    let backend = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    let called = Written::default();
    let log = AccessLog::to(called.clone()).json();
    let mesh = mesh(&folder, |it| it.access_log(log));
    call(&mesh, request()).await;
    let mut line: serde_json::Value = serde_json::from_str(&called.wait(1).await[0]).unwrap();
    let times = ["start_time", "duration", "upstream_service_time"].map(|key| line[key].take());
    assert!(times[0].is_string() && times[1].is_u64() && times[2].is_string());
    assert_eq!(
        line,
        serde_json::json!({
            "start_time": null, "duration": null, "upstream_service_time": null,
            "route_name": "default", "method": "POST", "path": "/reviews/0?page=1", "protocol": "HTTP/1.1",
            "response_code": 200, "response_flags": "-", "response_code_details": "via_upstream",
            "connection_termination_details": null, "bytes_received": 7, "bytes_sent": 11,
            "x_forwarded_for": "10.1.2.3", "user_agent": "curl/8 \"quoted\"", "request_id": "an-id",
            "authority": "reviews:9080", "upstream_host": backend.address.to_string(),
            "upstream_cluster": "outbound|9080||reviews.default.svc.cluster.local",
            "upstream_local_address": null, "downstream_local_address": null,
            "downstream_remote_address": null, "requested_server_name": null,
            "upstream_transport_failure_reason": null,
        })
    );
}

/// A writer that says when it was called, and then waits to be let go.
struct Stuck {
    called: Sender<()>,
    go: Receiver<()>,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.called.send(()).unwrap();
        // Its other end is gone when the test is over.
        let _ = self.go.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_writer_that_is_stuck_stops_no_call() {
    let backend = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    let ((called, calls), (release, go)) = (channel(), channel());
    let log = AccessLog::to(Stuck { called, go }).capacity(3);
    let mesh = mesh(&folder, |it| it.access_log(log));
    call(&mesh, request()).await;
    calls.recv().unwrap();
    // It has one line in hand, and three have room.
    for _ in 0..10 {
        call(&mesh, request()).await;
    }
    assert!((6..=7).contains(&mesh.stats().access_log_dropped));
    drop(release);
    until("the rest", async || calls.try_iter().count() > 0).await;
}

/// Negative control: the same calls without a log leave no line, and nothing on the wire.
#[tokio::test]
async fn what_was_not_asked_for_is_not_there() {
    let app = Router::new().fallback(get(|headers: axum::http::HeaderMap| async move {
        let names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.join(" ")
    }));
    let backend = Backend::serve("v1", app).await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    let mesh = mesh(&folder, |it| it);
    let response = mesh.client().get(URL).await.unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "host");
    assert_eq!(mesh.stats().access_log_dropped, 0);
}
