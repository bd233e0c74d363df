//! One ADS stream to istiod, state of the world: ask, take the answer, acknowledge.

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::protobuf::Any;
use mesh_xds::Node;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::failure::{Doing, Failure, Result};
use crate::kind::Kind;

/// It answers in milliseconds: silence for so long is an answer too late.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST_RESPONSE: usize = 64 << 20;

/// A stream.
pub(crate) struct Ads {
    node: Option<core::Node>,
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Responses,
}

/// istiod sends its headers only after it has read a request: the stream opens with the first one.
enum Responses {
    Closed(
        AggregatedDiscoveryServiceClient<Channel>,
        Option<ReceiverStream<DiscoveryRequest>>,
    ),
    Open(Box<Streaming<DiscoveryResponse>>),
}

impl Ads {
    /// Connects as this node.
    pub(crate) async fn connect(address: &str, node: &Node) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .doing("istiod's address")?
            .connect()
            .await
            .doing("connecting to istiod")?;
        let (requests, receiver) = mpsc::channel(8);
        let client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(LARGEST_RESPONSE);
        Ok(Self {
            node: Some(node.to_proto()),
            requests,
            responses: Responses::Closed(client, Some(ReceiverStream::new(receiver))),
        })
    }

    /// The resources of a kind; those of these names, or all without one. Names that istiod does not know may be
    /// missing in the answer.
    pub(crate) async fn fetch(
        &mut self,
        kind: Kind,
        names: Vec<String>,
    ) -> Result<BTreeMap<String, Any>> {
        let request = DiscoveryRequest {
            node: self.node.take(),
            resource_names: names.clone(),
            type_url: kind.type_url().to_owned(),
            ..DiscoveryRequest::default()
        };
        self.requests.send(request).await.doing("asking istiod")?;
        loop {
            let response = tokio::time::timeout(PATIENCE, self.response());
            let response = response.await.map_err(|_| {
                Failure::new(format!(
                    "istiod does not answer when asked for {kind} {names:?}"
                ))
            })??;
            let answers = response.type_url == kind.type_url();
            self.acknowledge(&response, &names, answers).await?;
            if answers {
                return response
                    .resources
                    .into_iter()
                    .map(|any| named(kind, any))
                    .collect();
            }
        }
    }

    async fn response(&mut self) -> Result<DiscoveryResponse> {
        if let Responses::Closed(client, requests) = &mut self.responses
            && let Some(requests) = requests.take()
        {
            let opened = client.stream_aggregated_resources(requests).await;
            self.responses = Responses::Open(Box::new(
                opened.doing("opening the ADS stream")?.into_inner(),
            ));
        }
        let Responses::Open(responses) = &mut self.responses else {
            return Err(Failure::new("the ADS stream could not be opened"));
        };
        let response = responses.message().await.doing("istiod's answer")?;
        response.ok_or_else(|| Failure::new("istiod ended the stream"))
    }

    async fn acknowledge(
        &self,
        response: &DiscoveryResponse,
        names: &[String],
        of_names: bool,
    ) -> Result<()> {
        // A push of another type repeats what was sent already: it is answered when its names are next asked for.
        if !of_names {
            return Ok(());
        }
        let request = DiscoveryRequest {
            version_info: response.version_info.clone(),
            resource_names: names.to_vec(),
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DiscoveryRequest::default()
        };
        self.requests.send(request).await.doing("acknowledging")
    }
}

/// The name of a resource: the first field of all four types.
fn named(kind: Kind, any: Any) -> Result<(String, Any)> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Name {
        #[prost(string, tag = "1")]
        name: String,
    }
    let name = Name::decode(any.value.as_slice())
        .doing(&format!("a {kind} from istiod"))?
        .name;
    Ok((name, any))
}
