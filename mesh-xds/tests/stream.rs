//! The client against control planes over sockets: slow ones, odd ones, ones that go away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_core::snapshot::{Snapshot, TableKey};
use mesh_xds::ads::{self, Control, Machine, Server, Status, Variant};
use mesh_xds::dns::Lookups;
use mesh_xds::{Node, ResourceType, Wanted};
use rand::SeedableRng;
use rand::rngs::StdRng;
use server::{Conversation, DeltaConversation, Plane, bind, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/server.rs"]
mod server;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const TABLE: TableKey = TableKey::Port(9080);

/// A running client, and what it shows.
struct Client {
    wanted: mpsc::UnboundedSender<Wanted>,
    status: watch::Receiver<Status>,
    published: watch::Receiver<Snapshot>,
    task: JoinHandle<()>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        Self::of(&[address], Variant::StateOfTheWorld, &[])
    }

    /// One with a list of control planes, and with more tables than [`TABLE`] wanted from the start.
    fn of(addresses: &[SocketAddr], variant: Variant, more: &[TableKey]) -> Self {
        let server = |address: &SocketAddr| {
            let server = Server::parse(&address.to_string()).expect("an address");
            server.with_variant(variant)
        };
        let servers: Vec<Server> = addresses.iter().map(server).collect();
        let mut peers = servers.iter().map(Server::peer);
        let first = peers.next().expect("a server");
        let machine = Machine::with_fallback(Node::sidecar("a", "default"), first, peers);
        let (wanted, tables) = mpsc::unbounded_channel();
        for table in more {
            wanted.send(table.clone().into()).expect("a receiver");
        }
        let (tell, status) = watch::channel(Status::default());
        let (publish, published) = watch::channel(Snapshot::default());
        wanted.send(TABLE.into()).expect("a receiver");
        let control = Control {
            wanted: tables,
            status: tell,
            lookups: Lookups::default(),
            csds: Default::default(),
        };
        let task = tokio::spawn(ads::run(
            servers,
            machine,
            control,
            StdRng::seed_from_u64(1),
            move |assembled| drop(publish.send(assembled.snapshot)),
        ));
        Self {
            wanted,
            status,
            published,
            task,
        }
    }

    /// Waits until a host is served by an endpoint on this port.
    async fn serves(&mut self, host: &str, port: u16) {
        let what = format!("{host} on {port}");
        let served = self
            .published
            .wait_for(|snapshot| port_of(snapshot, host) == Some(port));
        soon(&what, served).await.expect("a client");
    }

    async fn error(&mut self) -> String {
        let told = self.status.wait_for(|status| status.last_error.is_some());
        let status = soon("an error", told).await.expect("a client").clone();
        status.last_error.expect("an error").to_string()
    }

    async fn end(self) {
        drop(self.wanted);
        soon("the client's end", self.task).await.expect("no panic");
    }
}

fn port_of(snapshot: &Snapshot, host: &str) -> Option<u16> {
    let target = snapshot.tables.get(&TABLE)?.find(host)?;
    let cluster = target.clusters.first()?.as_ref()?;
    Some(cluster.endpoints.first()?.address.port())
}

fn resources(of: ResourceType, port: u16) -> Vec<Any> {
    match of {
        ResourceType::Cluster => wire::clusters(&["one"]),
        ResourceType::Endpoints => vec![wire::endpoints("one", port)],
        ResourceType::Route => vec![wire::routes("9080", vec![wire::host("a", &["one"])])],
        ResourceType::Listener => Vec::new(),
    }
}

fn type_of(request: &DiscoveryRequest) -> ResourceType {
    ResourceType::from_type_url(&request.type_url).expect("a known type")
}

/// Answers everything that is asked for, until the client has acknowledged all three types.
async fn configure(stream: &mut Conversation, port: u16) -> Vec<DiscoveryRequest> {
    let mut requests = Vec::new();
    let mut acknowledged = 0;
    while acknowledged < 3 {
        let request = stream.read().await;
        let of = type_of(&request);
        assert_eq!(request.error_detail, None);
        if request.response_nonce.is_empty() {
            let nonce = format!("{of} {port}");
            stream.write(wire::response(
                of,
                &port.to_string(),
                &nonce,
                resources(of, port),
            ));
        } else {
            acknowledged += 1;
        }
        requests.push(request);
    }
    requests
}

#[tokio::test]
async fn a_client_is_configured_and_follows() {
    let mut plane = Plane::start(false).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    let requests = configure(&mut stream, 1).await;
    assert!(requests[0].node.is_some() && type_of(&requests[0]) == CDS);
    assert!(requests[1..].iter().all(|request| request.node.is_none()));
    client.serves("a", 1).await;
    assert!(client.status.borrow().connected);
    for port in 2..200 {
        stream.write(wire::response(
            EDS,
            &port.to_string(),
            "n",
            resources(EDS, port),
        ));
        client.serves("a", port).await;
        assert_eq!(stream.read().await.version_info, port.to_string());
    }
    client.end().await;
    assert!(
        soon("the stream's end", stream.requests.recv())
            .await
            .is_none()
    );
}

#[tokio::test]
async fn a_table_that_is_wanted_later_is_asked_for() {
    let mut plane = Plane::start(false).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    configure(&mut stream, 1).await;
    client.serves("a", 1).await;
    client
        .wanted
        .send(TableKey::Gateway(8080).into())
        .expect("a client");
    let request = stream.read().await;
    assert_eq!(
        (type_of(&request), request.resource_names),
        (RDS, vec!["9080".to_owned(), "http.8080".to_owned()])
    );
    client.end().await;
}

/// It reads one request and answers it before it reads the next, for 1,000 clusters. A client that
/// asks for them one by one, or that waits until all is written before it reads, fails here.
#[tokio::test]
async fn a_half_duplex_server_needs_two_requests_of_each_type() {
    let names: Vec<String> = (0..1000).map(|at| format!("cluster-{at}")).collect();
    let all = |of| -> Vec<Any> {
        match of {
            ResourceType::Cluster => names.iter().map(|name| wire::cluster(name)).collect(),
            ResourceType::Endpoints => (1..)
                .zip(&names)
                .map(|(port, name)| wire::endpoints(name, port))
                .collect(),
            ResourceType::Route => {
                let hosts = names.iter().map(|name| wire::host(name, &[name]));
                vec![wire::routes("9080", hosts.collect())]
            }
            ResourceType::Listener => Vec::new(),
        }
    };
    let mut plane = Plane::start(true).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    let mut counts: HashMap<ResourceType, usize> = HashMap::new();
    let mut acknowledged = 0;
    while acknowledged < 3 {
        let request = stream.read().await;
        let of = type_of(&request);
        *counts.entry(of).or_default() += 1;
        if request.response_nonce.is_empty() {
            if of == EDS {
                assert_eq!(request.resource_names.len(), 1000);
            }
            stream.write(wire::response(of, "1", &format!("{of}"), all(of)));
        } else {
            assert_eq!((request.error_detail, &*request.version_info), (None, "1"));
            acknowledged += 1;
        }
    }
    client.serves("cluster-0", 1).await;
    client.serves("cluster-999", 1000).await;
    let snapshot = client.published.borrow().clone();
    let table = snapshot.tables.get(&TABLE).expect("a table");
    let complete = table.targets().filter(|target| {
        target.waiting_for.is_none() && target.clusters.iter().all(Option::is_some)
    });
    assert_eq!(complete.count(), 1000);
    assert_eq!(counts, [(CDS, 2), (EDS, 2), (RDS, 2)].into());
    client.end().await;
}

#[tokio::test]
async fn headers_may_come_after_the_first_request() {
    let mut plane = Plane::start(true).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    configure(&mut stream, 7).await;
    client.serves("a", 7).await;
    client.end().await;
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_nothing_is_lost() {
    let mut plane = Plane::start(false).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    configure(&mut stream, 1).await;
    client.serves("a", 1).await;
    let generation = client.published.borrow().generation;

    drop(stream);
    assert_eq!(client.error().await, "the control plane ended the stream");
    let mut stream = plane.accept().await;
    assert_eq!(
        client.published.borrow().generation,
        generation,
        "what is cached stays"
    );
    let requests = configure(&mut stream, 2).await;
    assert!(
        requests[0].node.is_some(),
        "the node goes first on every stream"
    );
    let first = |of| {
        requests
            .iter()
            .find(|request| type_of(request) == of)
            .expect("a request")
    };
    for of in wire::SIDECAR {
        assert_eq!(
            (&*first(of).version_info, &*first(of).response_nonce),
            ("1", "")
        );
    }
    assert_eq!(first(EDS).resource_names, ["one"]);
    client.serves("a", 2).await;

    let status = tonic::Status::permission_denied("who are you");
    stream.responses.send(Err(status)).expect("a stream");
    drop(stream);
    let told = |status: &Status| {
        status
            .last_error
            .as_deref()
            .is_some_and(|e| e.contains("who are you"))
    };
    soon("the error", client.status.wait_for(told))
        .await
        .expect("a client");
    let mut stream = plane.accept().await;
    configure(&mut stream, 3).await;
    client.serves("a", 3).await;
    client.end().await;
}

#[tokio::test]
async fn a_control_plane_that_is_down_changes_nothing_until_it_is_back() {
    let mut plane = Plane::start(false).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    configure(&mut stream, 1).await;
    client.serves("a", 1).await;
    let generation = client.published.borrow().generation;
    // A change that is half there when the control plane dies.
    let half = vec![wire::routes("9080", vec![wire::host("a", &["new"])])];
    stream.write(wire::response(RDS, "2", "half", half));
    assert_eq!(stream.read().await.response_nonce, "half");
    let address = plane.address;
    drop(plane);
    client.error().await;
    let refused = |status: &Status| {
        status
            .last_error
            .as_deref()
            .is_some_and(|error| error.contains("Connection refused"))
    };
    soon("a refusal", client.status.wait_for(refused))
        .await
        .expect("a client");
    assert!(!client.status.borrow().connected);
    assert_eq!(
        port_of(&client.published.borrow(), "a"),
        Some(1),
        "the last good stays"
    );
    assert!(
        client.published.borrow().generation <= generation + 1,
        "but for the table's version"
    );

    let mut plane = Plane::on(bind(address).await, false);
    let mut stream = plane.accept().await;
    configure(&mut stream, 2).await;
    client.serves("a", 2).await;
    client.end().await;
}

#[tokio::test]
async fn a_client_starts_before_its_control_plane() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let mut client = Client::start(address);
    let error = client.error().await;
    assert!(error.contains("Connection refused"), "{error}");
    assert_eq!(
        client.status.borrow().server.to_string(),
        address.to_string()
    );
    let mut plane = Plane::on(bind(address).await, false);
    let mut stream = plane.accept().await;
    configure(&mut stream, 1).await;
    client.serves("a", 1).await;
    assert!(client.status.borrow().connected);
    client.end().await;
}

#[tokio::test]
async fn garbage_on_the_port_is_an_error_and_the_client_goes_on() {
    let garbage: [&[u8]; 4] = [
        b"220 ftp.example.com ready\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        &[0xff; 64],
        b"",
    ];
    for bytes in garbage {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut client = Client::start(address);
        let rude = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                // The peer may be gone before it has read all.
                drop(socket.write_all(bytes).await);
                drop(socket.read(&mut [0; 1024]).await);
            }
        });
        let error = client.error().await;
        assert!(error.len() > 10 && !error.contains('\n'), "{error:?}");
        assert!(!client.status.borrow().connected);
        rude.abort();
        drop(rude.await);
        let mut plane = Plane::on(bind(address).await, false);
        let mut stream = plane.accept().await;
        configure(&mut stream, 1).await;
        client.serves("a", 1).await;
        client.end().await;
    }
}

#[tokio::test]
async fn a_refused_resource_is_answered_and_shown() {
    let mut plane = Plane::start(false).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    configure(&mut stream, 1).await;
    client.serves("a", 1).await;
    stream.write(wire::response(
        RDS,
        "2",
        "bad",
        vec![wire::routes("", Vec::new())],
    ));
    let answer = stream.read().await;
    let text = answer.error_detail.expect("a NACK").message;
    assert_eq!(
        (&*answer.version_info, &*answer.response_nonce),
        ("1", "bad")
    );
    let shown = client.status.wait_for(|status| !status.rejected.is_empty());
    let shown = soon("the status", shown)
        .await
        .expect("a client")
        .rejected
        .clone();
    assert_eq!(shown, [Arc::from(&*text)], "the same words");
    assert_eq!(port_of(&client.published.borrow(), "a"), Some(1));
    client.end().await;
}

/// A response above tonic's own limit of 4 MiB.
#[tokio::test]
async fn a_large_response_is_taken() {
    let mut plane = Plane::start(false).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    configure(&mut stream, 1).await;
    let mut all: Vec<Any> = (0..6000)
        .map(|at| wire::cluster(&format!("{at}-{}", "x".repeat(1000))))
        .collect();
    all.push(wire::cluster("one"));
    stream.write(wire::response(CDS, "2", "large", all));
    let answer = stream.read().await;
    assert_eq!(
        (&*answer.version_info, &*answer.response_nonce),
        ("2", "large")
    );
    client.serves("a", 1).await;
    client.end().await;
}

/// A response above 256 MiB is not read: the error tells both sizes, and what is in force stays.
#[tokio::test]
async fn a_response_that_is_too_large_is_refused_with_its_size() {
    let mut plane = Plane::start(false).await;
    let mut client = Client::start(plane.address);
    let mut stream = plane.accept().await;
    configure(&mut stream, 1).await;
    client.serves("a", 1).await;
    let nonce = "x".repeat(256 * 1024 * 1024);
    stream.write(wire::response(CDS, "2", &nonce, Vec::new()));
    drop(nonce);
    let error = client.error().await;
    assert!(
        error.contains("too large") && error.contains("268435456"),
        "{error}"
    );
    client.serves("a", 1).await;
    client.end().await;
}

/// Answers a delta stream half-duplex until all types are acknowledged; returns the requests by type.
async fn configure_delta(
    stream: &mut DeltaConversation,
    all: impl Fn(ResourceType, &DeltaDiscoveryRequest) -> Vec<(String, Any)>,
) -> HashMap<ResourceType, Vec<DeltaDiscoveryRequest>> {
    let mut requests: HashMap<ResourceType, Vec<DeltaDiscoveryRequest>> = HashMap::new();
    let mut acknowledged = 0;
    while acknowledged < 3 {
        let request = stream.read().await;
        let of = ResourceType::from_type_url(&request.type_url).expect("a known type");
        assert_eq!(request.error_detail, None);
        if request.response_nonce.is_empty() {
            let resource = |(name, any)| Resource {
                name,
                version: "1".to_owned(),
                resource: Some(any),
                ..Resource::default()
            };
            stream.write(DeltaDiscoveryResponse {
                type_url: of.type_url().to_owned(),
                resources: all(of, &request).into_iter().map(resource).collect(),
                nonce: of.to_string(),
                ..DeltaDiscoveryResponse::default()
            });
        } else {
            acknowledged += 1;
        }
        requests.entry(of).or_default().push(request);
    }
    requests
}

/// 1,000 tables that are wanted from the start, and 1,000 clusters behind them, of a server that reads one
/// request and answers it before it reads the next.
#[tokio::test]
async fn a_half_duplex_delta_server_needs_two_requests_of_each_type() {
    let tables: Vec<TableKey> = (1..1000).map(TableKey::Port).collect();
    let (plane, mut deltas) = Plane::with_delta().await;
    let mut client = Client::of(&[plane.address], Variant::Delta, &tables);
    let mut stream = soon("a stream", deltas.recv()).await.expect("a server");
    let requests = configure_delta(&mut stream, |of, request| {
        let asked = request.resource_names_subscribe.iter();
        match of {
            ResourceType::Cluster => (1..10_000)
                .map(|at| (format!("c{at}"), wire::cluster(&format!("c{at}"))))
                .collect(),
            ResourceType::Endpoints => asked
                .map(|name| (name.clone(), wire::endpoints(name, 7)))
                .collect(),
            ResourceType::Route => asked
                .map(|name| {
                    let host = wire::host("a", &[&format!("c{name}")]);
                    (name.clone(), wire::routes(name, vec![host]))
                })
                .collect(),
            ResourceType::Listener => Default::default(),
        }
    })
    .await;
    client.serves("a", 7).await;
    for of in wire::SIDECAR {
        assert_eq!(requests[&of].len(), 2, "{of}");
    }
    assert_eq!(requests[&RDS][0].resource_names_subscribe.len(), 1000);
    assert_eq!(requests[&EDS][0].resource_names_subscribe.len(), 1000);

    // The next stream says what is there.
    drop(stream);
    let mut stream = soon("a stream", deltas.recv()).await.expect("a server");
    let first = stream.read().await;
    assert_eq!(first.initial_resource_versions.len(), 9999);
    assert_eq!(first.initial_resource_versions["c1"], "1");
    client.end().await;
}

/// The same of a state-of-the-world server, for tables.
#[tokio::test]
async fn a_thousand_tables_are_two_requests() {
    let tables: Vec<TableKey> = (1..1000).map(TableKey::Port).collect();
    let mut plane = Plane::start(true).await;
    let client = Client::of(&[plane.address], Variant::StateOfTheWorld, &tables);
    let mut stream = plane.accept().await;
    let mut counts: HashMap<ResourceType, usize> = HashMap::new();
    for _ in 0..4 {
        let request = stream.read().await;
        let of = type_of(&request);
        *counts.entry(of).or_default() += 1;
        if request.response_nonce.is_empty() {
            assert_eq!(
                request.resource_names.len(),
                if of == RDS { 1000 } else { 0 }
            );
            let empty = |name: &String| wire::routes(name, Vec::new());
            let all = request.resource_names.iter().map(empty).collect();
            stream.write(wire::response(of, "1", "n", all));
        }
    }
    assert_eq!(counts, [(CDS, 2), (RDS, 2)].into());
    client.end().await;
}

#[tokio::test]
async fn a_server_without_delta_is_asked_for_the_state_of_the_world() {
    let mut plane = Plane::start(false).await;
    let mut client = Client::of(&[plane.address], Variant::Delta, &[]);
    let mut stream = plane.accept().await;
    configure(&mut stream, 5).await;
    client.serves("a", 5).await;
    assert_eq!(
        client.status.borrow().last_error,
        None,
        "that is no failure"
    );
    client.end().await;
}

#[tokio::test]
async fn the_second_control_plane_stands_in_until_the_first_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let mut second = Plane::start(false).await;
    let mut client = Client::of(&[address, second.address], Variant::StateOfTheWorld, &[]);
    let mut stand_in = second.accept().await;
    configure(&mut stand_in, 2).await;
    client.serves("a", 2).await;
    assert_eq!(*client.status.borrow().server, second.address.to_string());

    let mut first = Plane::on(bind(address).await, false);
    let mut stream = first.accept().await;
    configure(&mut stream, 1).await;
    client.serves("a", 1).await;
    let end = soon("the stand-in's rest", stand_in.requests.recv()).await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!(*client.status.borrow().server, address.to_string());
    client.end().await;
}
