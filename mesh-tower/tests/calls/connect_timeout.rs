//! `connectTimeout`: a peer whose machine does not answer.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{Folder, URL};

/// A listener whose queue of connections is full: the kernel answers no further one.
struct Silent {
    address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<tokio::task::JoinHandle<std::io::Result<TcpStream>>>,
}

impl Silent {
    async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        // More than the queue holds, which is a little more than was asked for.
        let queue: Vec<_> = (0..16)
            .map(|_| tokio::spawn(TcpStream::connect(address)))
            .collect();
        // Each is begun at its first turn.
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        Self {
            address,
            _listener: listener,
            _queue: queue,
        }
    }
}

/// The text of the error of a call to a silent peer, by rules that are changed before.
async fn call(change: impl FnOnce(&Folder)) -> String {
    let peer = Silent::new().await;
    let folder = Folder::reviews("HTTP", &[("v1", peer.address)]);
    change(&folder);
    let error = folder.mesh(7).client().get(URL).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert_eq!(error.flags(), "UF", "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_destination_rule_bounds_the_connect() {
    let text = call(|folder| {
        let service = folder.path().join("service.yaml");
        let rules = std::fs::read_to_string(service).unwrap();
        let policy = "tls: { mode: DISABLE }";
        assert!(rules.contains(policy), "{rules}");
        let pool = "connectionPool: { tcp: { connectTimeout: 70ms } }";
        folder.write(
            "service.yaml",
            &rules.replace(policy, &format!("{policy}, {pool}")),
        );
    });
    assert!(text.await.contains("70ms"));
}

#[tokio::test]
async fn mesh_config_bounds_the_connect() {
    let text = call(|folder| {
        folder.write(
            "mesh.yaml",
            "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: { name: mesh }\nspec: { connectTimeout: 60ms }\n",
        );
    });
    assert!(text.await.contains("60ms"));
}
