//! gRPC's C core (the Python package `grpcio`) asked for its verdict: it gets one resource with a mistake among good
//! ones, over a stream that the test plays, and acknowledges or refuses.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use envoy_types::pb::google::protobuf::Any;
use mesh_xds::ResourceType;
use serde_json::json;

use crate::server::{Conversation, Plane};
use crate::wire::{self, CDS, EDS, LDS, RDS};

/// A channel to each target that a line names, until the input ends.
const CLIENT: &str = "
import sys, grpc
channels = []
for line in sys.stdin:
    channels.append(grpc.insecure_channel(line.strip()))
    channels[-1].subscribe(lambda state: None, try_to_connect=True)
";

/// One process; each question is a target of its own, which has a stream of its own (gRPC A71).
pub(crate) struct Core {
    plane: Plane,
    process: Child,
    /// Those of the questions so far: one that ended would be opened again, and stand before the next.
    streams: Vec<Conversation>,
}

impl Core {
    pub(crate) async fn start(python: &std::ffi::OsStr) -> Self {
        let plane = Plane::start(false).await;
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": plane.address.to_string(),
                "channel_creds": [{ "type": "insecure" }],
            }],
            "node": { "id": "a" },
        });
        let mut command = Command::new(python);
        // gRPC would send calls to loopback through a proxy too.
        for name in ["grpc_proxy", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        let process = command
            .args(["-c", CLIENT])
            .env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("MESH_GRPCIO can be run");
        Self {
            plane,
            process,
            streams: Vec::new(),
        }
    }

    /// What it says of a resource that it refuses.
    pub(crate) async fn nack(&mut self, of: ResourceType, resource: &Any) -> Option<String> {
        let target = format!("target-{}", self.streams.len());
        let input = self.process.stdin.as_mut().expect("an input");
        writeln!(input, "xds:///{target}").expect("a process that reads");
        let stream = self.plane.accept().await;
        self.streams.push(stream);
        let stream = self.streams.last_mut().expect("the one of now");
        loop {
            let request = stream.read().await;
            let about = ResourceType::from_type_url(&request.type_url).expect("a type");
            if request.response_nonce.is_empty() {
                let resource = match about == of {
                    true => resource.clone(),
                    false => good(about, &target),
                };
                let response =
                    wire::response(about, "1", request.type_url.as_str(), vec![resource]);
                stream.write(response);
            } else if about == of {
                return request.error_detail.map(|error| error.message);
            } else {
                assert_eq!(request.error_detail, None, "a good {about}");
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The resource around the one that is judged.
fn good(of: ResourceType, target: &str) -> Any {
    let everyone = wire::host_message("a", &["*"], &[("one", 1)]);
    match of {
        LDS => wire::listener(target, "9080"),
        RDS => wire::routes("9080", vec![everyone]),
        CDS => wire::any(CDS, &crate::clusters::by_name()),
        EDS => wire::any(EDS, &crate::endpoints::good()),
    }
}
