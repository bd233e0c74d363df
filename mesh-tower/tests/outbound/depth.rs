//! How deep the compiler has to look until it knows that our types are `Send`, within this crate's `recursion_limit`. With
//! all that is in a pool of connections in them it did not end at 128.

use http::{Request, Response};
use mesh_tower::{
    Body, Inbound, Mesh, MeshChannel, MeshClient, MeshListener, Outbound, PeerIdentity,
};
use tower::Service;

const fn send<T: Send>() {}

const _: () = {
    send::<Mesh>();
    send::<MeshClient>();
    send::<MeshChannel>();
    send::<MeshListener>();
    send::<PeerIdentity>();
    send::<Request<Body>>();
    send::<Response<Body>>();
    send::<Inbound<MeshClient>>();
    send::<Outbound<MeshClient>>();
    send::<<MeshClient as Service<Request<Body>>>::Future>();
};

/// A program's own future, with ours in it.
fn _within(client: MeshClient) -> impl Send {
    async move {
        let page = client.get("http://a/").await;
        drop(page);
    }
}
