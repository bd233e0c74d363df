//! A socket of this machine.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::verified::{Bounds, stream, watched};

/// A service of this machine behind a socket in the file system: Istio's agent, a SPIFFE agent. Who may be there is said by
/// the file's mode. It connects when it is first used, and again when it has to.
#[derive(Clone)]
pub struct Local {
    path: Arc<Path>,
    channel: Channel,
}

/// A call whose answers have no end.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// A header that the service demands, in lower case, with its value.
    pub header: Option<(&'static str, &'static str)>,
    /// The most bytes of one answer.
    pub largest_response: usize,
}

impl Local {
    /// A socket; whether somebody listens there is seen when it is used. `None` if the path is none that can be used: it must
    /// be absolute, and text that a URI can hold.
    pub fn new(path: &Path) -> Option<Self> {
        let text = path.to_str().filter(|_| path.is_absolute())?;
        let endpoint = Endpoint::from_shared(format!("unix://{text}")).ok()?;
        Some(Self {
            path: path.into(),
            // As gRPC's libraries call a socket.
            channel: watched(endpoint.origin(Uri::from_static("http://localhost"))).connect_lazy(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls a method. It returns with the head of the answer, which many servers send with the first message.
    ///
    /// # Errors
    /// When nobody listens there, or the server says so.
    pub async fn stream<Q, R>(
        &self,
        method: Method,
        requests: mpsc::Receiver<Q>,
    ) -> Result<Streaming<R>, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut request = Request::new(ReceiverStream::new(requests));
        if let Some((name, value)) = method.header {
            let value = MetadataValue::from_static(value);
            request.metadata_mut().insert(name, value);
        }
        let bounds = Bounds {
            method: method.path,
            largest_response: method.largest_response,
        };
        stream(self.channel.clone(), bounds, request).await
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").field(&self.path).finish()
    }
}
