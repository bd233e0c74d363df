//! The process whose instructions are counted: one client, one call at a time, on one thread, so that
//! the count is nearly the same each time.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::InvalidUri;
use http::{Request, StatusCode, Uri};
use mesh_tower::{Body, CallInfo, Mesh, MeshClient, Node};

use super::world;
use crate::error::BenchError;

/// Said when connections are open and caches full.
pub(super) const WARM: &str = "warm";
/// Said when the calls that were asked for are made.
pub(super) const DONE: &str = "done";

/// Under valgrind the start takes tens of times as long as without.
const START: Duration = Duration::from_secs(300);
const WARM_UP: usize = 200;
const BODY: Bytes = Bytes::from_static(&[b'x'; 128]);
const SEED: u64 = 42;

/// Says that it is warm, then makes as many calls as each line of its input asks for.
pub(crate) fn run(plane: SocketAddr) -> Result<(), BenchError> {
    let runtime = crate::paired::runtime()?;
    let caller = runtime.block_on(Caller::start(plane))?;
    runtime.block_on(caller.calls(WARM_UP))?;
    say(WARM)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let calls = line
            .parse()
            .map_err(|_| BenchError::Counting(format!("{line:?} is no number of calls")))?;
        runtime.block_on(caller.calls(calls))?;
        say(DONE)?;
    }
    Ok(())
}

fn say(word: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{word}")?;
    stdout.flush()
}

struct Caller {
    client: MeshClient,
    uri: Uri,
}

impl Caller {
    async fn start(plane: SocketAddr) -> Result<Self, BenchError> {
        let mesh = Mesh::builder()
            .xds(plane.to_string())
            .node(Node::sidecar("bench", "default"))
            .declare(world::PORT)
            .seed(SEED)
            .build()
            .map_err(|error| BenchError::Mesh(error.to_string()))?;
        mesh.ready(START)
            .await
            .map_err(|error| BenchError::Mesh(error.to_string()))?;
        let uri = format!("http://{}:{}{}", world::CALLED, world::PORT, world::PATH);
        let caller = Self {
            client: mesh.client(),
            uri: uri
                .parse()
                .map_err(|error: InvalidUri| failed(error.to_string()))?,
        };
        caller.check().await?;
        Ok(caller)
    }

    /// Whether the route that the world is about takes our calls.
    async fn check(&self) -> Result<(), BenchError> {
        let asked = self.client.clone().with_call_info();
        let response = asked
            .send(self.request()?)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let info = response.extensions().get::<CallInfo>();
        let route = info.map(|info| &*info.route);
        if route == Some(world::LAST_ROUTE) {
            return Ok(());
        }
        let told = format!("route {route:?} matched instead of the last");
        Err(BenchError::Configuration(told))
    }

    async fn calls(&self, calls: usize) -> Result<(), BenchError> {
        for _ in 0..calls {
            let response = self
                .client
                .send(self.request()?)
                .await
                .map_err(|error| failed(error.to_string()))?;
            let status = response.status();
            let body = response.into_body().bytes().await;
            let body = body.map_err(|error| failed(error.to_string()))?;
            if status != StatusCode::OK || body != BODY {
                return Err(failed(format!("status {status}, {} bytes", body.len())));
            }
        }
        Ok(())
    }

    fn request(&self) -> Result<Request<Body>, BenchError> {
        let (name, value) = world::HEADER;
        Request::post(self.uri.clone())
            .header(name, value)
            .body(Body::from(BODY))
            .map_err(|error| failed(error.to_string()))
    }
}

fn failed(reason: impl Into<String>) -> BenchError {
    BenchError::Request {
        arm: "counted",
        reason: reason.into(),
    }
}
