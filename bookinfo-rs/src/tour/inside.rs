//! The tour's own client in the mesh: what a shell with curl is in Istio's tasks. It calls the book service outside.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mesh_tower::{Mesh, MeshClient, Node, Resolve, Resolving, StartError};

use super::edits::By;
use crate::launch::Demo;

/// The node's address; nobody listens there.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 16, 1));

/// The book service's name, which is that of `tasks/service-entry-books.yaml`, and what is asked of it.
const HOST: &str = "books.example.com";
const PATH: &str = "/books/v1/volumes";

/// A client in the mesh.
#[derive(Debug)]
pub(crate) struct Inside {
    client: MeshClient,
    /// Where the stand-in for a book service listens.
    stand_in: SocketAddr,
}

/// Knows the stand-in, by the book service's name, and nothing else: no call leaves this machine.
#[derive(Debug)]
struct Names(IpAddr);

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move {
            if host == HOST {
                return Ok(vec![SocketAddr::new(self.0, port)]);
            }
            Err(io::Error::other(format!("{host} is not {HOST}")))
        })
    }
}

impl Inside {
    /// A client with the label `app: curl`.
    ///
    /// # Errors
    /// When a mesh cannot be had.
    pub(crate) fn new(demo: &Demo) -> Result<Self, StartError> {
        let books = demo.workloads().iter();
        let stand_in = books
            .filter(|(workload, _)| workload.service == "googleapis")
            .map(|(_, address)| *address)
            .next()
            // Without one there is nothing to ask, and the checks are red.
            .unwrap_or_else(|| SocketAddr::new(ADDRESS, 0));
        let node = Node::sidecar("curl", "default")
            .with_ip(ADDRESS)
            .with_labels([("app", "curl")]);
        let mesh = Mesh::builder()
            .xds(demo.control_plane_address())
            .node(node)
            .resolver(Names(stand_in.ip()))
            .build()?;
        Ok(Self {
            client: mesh.client(),
            stand_in,
        })
    }

    /// Where the book service is asked: at a port that no ServiceEntry has, or at that of its ServiceEntry.
    pub(crate) fn url(&self, by: By) -> String {
        match by {
            By::Books | By::Shop(_) | By::Ingress(_) | By::Named(..) | By::Plaintext(_) => {
                format!("http://{HOST}{PATH}")
            }
            By::UnknownHost => format!("http://{HOST}:{}{PATH}", self.stand_in.port()),
        }
    }

    /// Asks; of a call that the mesh did not bring to an end, the status that it gives it.
    pub(crate) async fn get(&self, url: &str) -> (StatusCode, Bytes) {
        let (status, _, body) = self.answer(url).await;
        (status, body)
    }

    /// The same with headers.
    pub(crate) async fn answer(&self, url: &str) -> (StatusCode, HeaderMap, Bytes) {
        let answered = async {
            let (parts, body) = self.client.get(url).await?.into_parts();
            Ok::<_, mesh_tower::Error>((parts.status, parts.headers, body.bytes().await?))
        };
        let failed = |error: mesh_tower::Error| {
            let text = error.to_string().into();
            (error.status(), HeaderMap::new(), text)
        };
        answered.await.unwrap_or_else(failed)
    }
}
