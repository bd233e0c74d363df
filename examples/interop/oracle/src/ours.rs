//! Requests through our own mesh, in this process.

use std::net::SocketAddr;

use mesh_tower::{CallInfo, Mesh, MeshClient, Node, PathNormalization};

use crate::copies::Copies;
use crate::envoy::Normalization;
use crate::failure::{Doing, Result};
use crate::outcome::Outcome;
use crate::request::Ask;

const PORT: u16 = 9080;

/// Two meshes on the same routes.
#[derive(Debug)]
pub(crate) struct Ours {
    /// A workload's table is that of the request's port.
    workload: MeshClient,
    /// A gateway's is always the same: for authorities with another port, or none.
    gateway: MeshClient,
    copies: Copies,
}

impl Ours {
    /// Connects both to the ADS server.
    pub(crate) fn start(
        ads: SocketAddr,
        seed: u64,
        normalization: Normalization,
        copies: Copies,
    ) -> Result<Self> {
        let normalization = match normalization {
            Normalization::None => PathNormalization::None,
            Normalization::Base => PathNormalization::Base,
            Normalization::MergeSlashes => PathNormalization::MergeSlashes,
            Normalization::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
        };
        let mesh = |node| {
            let builder = Mesh::builder().xds(ads.to_string()).node(node).seed(seed);
            builder.path_normalization(normalization)
        };
        let workload = mesh(Node::sidecar("oracle", "default")).declare(PORT);
        let workload = workload.build().doing("our mesh")?;
        let gateway = mesh(Node::router("oracle", "default", [("app", "oracle")]));
        let gateway = gateway.build().doing("our mesh")?;
        Ok(Self {
            workload: workload.client().with_call_info(),
            gateway: gateway.gateway(PORT).with_call_info(),
            copies,
        })
    }

    /// Sends a request.
    pub(crate) async fn send(&self, ask: &Ask) -> Outcome {
        let client = if ask.authority.ends_with(":9080") {
            &self.workload
        } else {
            &self.gateway
        };
        self.through(client, ask).await
    }

    /// Sends it through each of both.
    pub(crate) async fn send_both(&self, ask: &Ask) -> [Outcome; 2] {
        [
            self.through(&self.workload, ask).await,
            self.through(&self.gateway, ask).await,
        ]
    }

    async fn through(&self, client: &MeshClient, ask: &Ask) -> Outcome {
        let number = self.copies.number();
        let mut outcome = Self::numbered(client, ask, number).await;
        outcome.number = number;
        outcome
    }

    async fn numbered(client: &MeshClient, ask: &Ask, number: u64) -> Outcome {
        let request = match ask.to_ours(number) {
            Ok(request) => request,
            Err(error) => {
                return Outcome::new(0, &http::HeaderMap::new(), error.to_string().as_bytes());
            }
        };
        match client.send(request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let text = match body.bytes().await {
                    Ok(bytes) => bytes,
                    Err(error) => format!("the body broke off: {error}").into(),
                };
                let mut outcome = Outcome::new(head.status.as_u16(), &head.headers, &text);
                let info = head.extensions.get::<CallInfo>();
                outcome.route = info.and_then(|info| named(&info.route));
                outcome.flags = info.and_then(|info| named(info.flags));
                outcome
            }
            Err(error) => {
                let mut outcome =
                    Outcome::new(error.status().as_u16(), &http::HeaderMap::new(), b"");
                outcome.route = error.route().and_then(named);
                outcome.flags = Some(error.flags().to_owned());
                outcome.detail = error.to_string();
                outcome
            }
        }
    }
}

/// `-` is "no name".
fn named(text: &str) -> Option<String> {
    (text != "-" && !text.is_empty()).then(|| text.to_owned())
}
