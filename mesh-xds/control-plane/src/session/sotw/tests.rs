//! Scripts of one client against the machine: what it asks, what the folder does, what it must be sent.

use envoy_types::pb::envoy::config::core::v3::Node as NodeProto;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;

use super::*;
use crate::session::{Compiled, MAX_MESSAGE, MAX_TYPES};

const C: &str = ResourceType::Cluster.type_url();
const E: &str = ResourceType::Endpoints.type_url();
const R: &str = ResourceType::Route.type_url();
const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

pub(in crate::session) type Named = &'static [&'static str];

enum Step {
    /// A first request of the type on this stream: no nonce.
    Ask(&'static str, Named),
    /// A request with the nonce of the last response.
    Ack(&'static str, Named),
    /// A refusal of the last response.
    Refuse(&'static str, Named),
    /// A request with the nonce of the response before the last.
    Late(&'static str, Named),
    /// A request with a nonce of another stream.
    Foreign(&'static str, Named),
    /// The folder now holds these resources, each `type:name=content`, type one of c, e, r.
    Config(Named),
    /// What the client is sent now, in this order: type, and `name=content` of each resource.
    Sent(&'static [(&'static str, Named)]),
}
use Step::{Ack, Ask, Config, Foreign, Late, Refuse, Sent};

pub(in crate::session) const BASE: Named = &["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=1"];

/// A client that follows everything of `BASE` and has acknowledged it.
const SETTLED: &[Step] = &[
    Ask(C, &[]),
    Sent(&[(C, &["a=1", "b=1"])]),
    Ack(C, &[]),
    Ask(E, &["a", "b"]),
    Sent(&[(E, &["a=1", "b=1"])]),
    Ack(E, &["a", "b"]),
    Ask(R, &["80"]),
    Sent(&[(R, &["80=1"])]),
    Ack(R, &["80"]),
    Sent(&[]),
];

/// Each goes on from `SETTLED`.
const SCRIPTS: &[(&str, &[Step])] = &[
    ("an acknowledgement is not answered", &[]),
    (
        "the same content in another generation is not sent",
        &[Config(BASE), Sent(&[])],
    ),
    (
        "an edit of a route sends that route",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=2"]),
            Sent(&[(R, &["80=2"])]),
        ],
    ),
    (
        "an edit of endpoints sends only those",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=2", "r:80=1"]),
            Sent(&[(E, &["b=2"])]),
        ],
    ),
    (
        "a changed cluster sends all clusters and its endpoints again",
        &[
            Config(&["c:a=1", "c:b=2", "e:a=1", "e:b=1", "r:80=1"]),
            Sent(&[(C, &["a=1", "b=2"]), (E, &["b=1"])]),
        ],
    ),
    (
        "clusters, then endpoints, then routes",
        &[
            Config(&["c:a=2", "c:b=1", "e:a=2", "e:b=1", "r:80=2"]),
            Sent(&[(C, &["a=2", "b=1"]), (E, &["a=2"]), (R, &["80=2"])]),
        ],
    ),
    (
        "a removed cluster is absent from the set, removed endpoints are not told, removed routes are empty",
        &[
            Config(&["c:a=1", "e:a=1"]),
            Sent(&[(C, &["a=1"]), (R, &["\n\u{2}80"])]),
        ],
    ),
    (
        "a cluster that is removed and comes back gets its endpoints again",
        &[
            Config(&["c:a=1", "e:a=1", "e:b=1", "r:80=1"]),
            Sent(&[(C, &["a=1"])]),
            Config(BASE),
            Sent(&[(C, &["a=1", "b=1"]), (E, &["b=1"])]),
        ],
    ),
    (
        "a slow client gets the newest state once, whatever happened between",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=2"]),
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=3"]),
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=4"]),
            Sent(&[(R, &["80=4"])]),
        ],
    ),
    (
        "a refused version is not repeated, the next one is sent",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=2"]),
            Sent(&[(R, &["80=2"])]),
            Refuse(R, &["80"]),
            Sent(&[]),
            Config(&["c:a=1", "c:b=1", "e:a=2", "e:b=1", "r:80=2"]),
            Sent(&[(E, &["a=2"])]),
            Config(&["c:a=1", "c:b=1", "e:a=2", "e:b=1", "r:80=3"]),
            Sent(&[(R, &["80=3"])]),
        ],
    ),
    (
        "a refusal that names more is answered for what is new",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=2", "e:b=1", "e:c=1", "r:80=1"]),
            Sent(&[(E, &["a=2"])]),
            Refuse(E, &["a", "b", "c"]),
            Sent(&[(E, &["c=1"])]),
        ],
    ),
    (
        "a new name on what looks like an acknowledgement is answered, alone",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=1", "r:90=1"]),
            Sent(&[]),
            Ack(R, &["80", "90"]),
            Sent(&[(R, &["90=1"])]),
        ],
    ),
    (
        "a name that we do not have is answered with an empty resource, and sent when it comes",
        &[
            Ack(R, &["80", "90"]),
            Sent(&[(R, &["\n\u{2}90"])]),
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=1", "r:90=1"]),
            Sent(&[(R, &["90=1"])]),
        ],
    ),
    (
        "a dropped name is not sent any more, and is answered when it is asked for again",
        &[
            Ack(E, &["a"]),
            Sent(&[]),
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=2", "r:80=1"]),
            Sent(&[]),
            Ack(E, &["a", "b"]),
            Sent(&[(E, &["b=2"])]),
        ],
    ),
    (
        "an empty list later drops all names",
        &[
            Ack(E, &[]),
            Ack(R, &[]),
            Config(&["c:a=1", "c:b=1", "e:a=2", "e:b=2", "r:80=2"]),
            Sent(&[]),
            Ack(R, &["80"]),
            Sent(&[(R, &["80=2"])]),
        ],
    ),
    (
        "what is owed and dropped before it was sent is not sent",
        &[Ack(E, &["a", "b", "c"]), Ack(E, &["a", "b"]), Sent(&[])],
    ),
    (
        "a stale request is ignored, its names count when they come with the right nonce",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=2", "e:b=1", "e:c=1", "r:80=1"]),
            Sent(&[(E, &["a=2"])]),
            Late(E, &["c"]),
            Sent(&[]),
            Ack(E, &["a", "b", "c"]),
            Sent(&[(E, &["c=1"])]),
        ],
    ),
    (
        "names of a request for clusters do not choose: the set is always complete",
        &[
            Ack(C, &["a"]),
            Sent(&[(C, &["a=1", "b=1"])]),
            Ack(C, &["a"]),
            Sent(&[]),
            Config(&["c:a=2", "c:b=2", "r:80=1"]),
            Sent(&[(C, &["a=2", "b=2"])]),
        ],
    ),
    (
        "a client that starts over gets everything again",
        &[Ask(C, &[]), Sent(&[(C, &["a=1", "b=1"])])],
    ),
    (
        "an unknown type is answered with nothing, once",
        &[
            Ask(LDS, &[]),
            Sent(&[(LDS, &[])]),
            Ack(LDS, &[]),
            Sent(&[]),
            Ack(LDS, &["x"]),
            Sent(&[(LDS, &[])]),
        ],
    ),
];

#[test]
fn scripts() {
    for (name, script) in SCRIPTS {
        let mut client = Client::new();
        client.play(name, SETTLED);
        client.play(name, script);
    }
}

/// What a client may begin with.
const FIRST: &[(&str, &[Step])] = &[
    (
        "no names of a type by name ask for nothing",
        &[Ask(E, &[]), Ask(R, &[]), Sent(&[])],
    ),
    (
        "a nonce of an earlier stream starts over",
        &[Foreign(C, &[]), Sent(&[(C, &["a=1", "b=1"])])],
    ),
    (
        "all types at once are answered in order, whatever the order of asking",
        &[
            Ask(R, &["80"]),
            Ask(E, &["a"]),
            Ask(C, &[]),
            Sent(&[(C, &["a=1", "b=1"]), (E, &["a=1"]), (R, &["80=1"])]),
        ],
    ),
    (
        "in gRPC's dialect names choose listeners and clusters, and no names are none after the first",
        &[
            Config(&["l:x:1=1", "l:y:1=1", "c:a=1", "c:b=1"]),
            Ask(LDS, &["x:1", "z:1"]),
            Ask(C, &["a"]),
            Sent(&[(C, &["a=1"]), (LDS, &["x:1=1"])]),
            Config(&["l:x:1=1", "l:y:1=2", "c:a=1", "c:b=2"]),
            Sent(&[]),
            Ack(C, &["a", "b"]),
            Sent(&[(C, &["a=1", "b=2"])]),
            Config(&["l:x:1=2", "l:y:1=2", "c:b=2"]),
            Sent(&[(C, &["b=2"]), (LDS, &["x:1=2"])]),
            Ack(C, &[]),
            Config(&["l:x:1=2", "c:a=2", "c:b=3"]),
            Sent(&[]),
        ],
    ),
    (
        "in gRPC's dialect no names at first are all",
        &[
            Config(&["l:x:1=1", "l:y:1=1"]),
            Ask(LDS, &[]),
            Sent(&[(LDS, &["x:1=1", "y:1=1"])]),
            Config(&["l:x:1=1"]),
            Sent(&[(LDS, &["x:1=1"])]),
        ],
    ),
    (
        "to sidecars listeners are all that there are, whatever is named",
        &[
            Config(&["s:in=1", "c:a=1"]),
            Ask(LDS, &[]),
            Sent(&[(LDS, &["in=1"])]),
            Ack(LDS, &[]),
            Config(&["s:in=2", "c:a=1"]),
            Sent(&[(LDS, &["in=2"])]),
            Ack(LDS, &["other"]),
            Sent(&[(LDS, &["in=2"])]),
            Config(&["c:a=1"]),
            Sent(&[(LDS, &[])]),
        ],
    ),
    ("nothing is sent unasked", &[Config(&["c:a=2"]), Sent(&[])]),
    (
        "an edit before the first answer is in it",
        &[
            Ask(R, &["80"]),
            Config(&["r:80=2"]),
            Sent(&[(R, &["80=2"])]),
        ],
    ),
];

#[test]
fn first_requests() {
    for (name, script) in FIRST {
        Client::new().play(name, script);
    }
}

#[test]
fn a_refusal_is_told_with_the_version_that_it_refuses() {
    let mut client = Client::new();
    client.play("settled", SETTLED);
    client.play(
        "edit",
        &[Config(&["r:80=2"]), Sent(&[(C, &[]), (R, &["80=2"])])],
    );
    client.play("refuse", &[Refuse(R, &["80"])]);
    let [nack] = &client.nacks[..] else {
        panic!("one refusal expected: {:?}", client.nacks)
    };
    assert_eq!(
        *nack,
        Nack {
            node: "sidecar~127.0.0.1~a.default~default.svc.cluster.local".to_owned(),
            type_url: R.to_owned(),
            version: "run/2".to_owned(),
            message: "no good".to_owned(),
        }
    );
    // Refused after the next response had gone out: still told, and with the right version.
    client.play("edit", &[Config(&["r:80=3"]), Sent(&[(R, &["80=3"])])]);
    let mut late = client.message(R, &["80"], client.nonces(R, 1));
    late.error_detail = Some(Status {
        code: 3,
        message: "x".repeat(10_000),
        ..Status::default()
    });
    let nack = client.session.request(late).unwrap().unwrap();
    assert_eq!(
        (nack.version.as_str(), nack.message.len()),
        ("run/2", MAX_MESSAGE)
    );
}

#[test]
fn nonces_never_repeat_and_versions_are_those_of_the_generation() {
    let mut client = Client::new();
    client.play("settled", SETTLED);
    for content in ["r:80=2", "r:80=3", "r:80=4"] {
        client.config([content]);
        client.play("ask", &[Ask(C, &[]), Ask(R, &["80"])]);
        client.take();
    }
    let mut nonces: Vec<_> = client.log.iter().map(|r| r.nonce.clone()).collect();
    assert!(client.log.last().unwrap().version_info.ends_with("/4"));
    let all = nonces.len();
    nonces.sort();
    nonces.dedup();
    assert_eq!((nonces.len(), all >= 6), (all, true));
}

#[test]
fn bad_clients() {
    let node = |id: &str| DiscoveryRequest {
        node: Some(NodeProto {
            id: id.to_owned(),
            ..NodeProto::default()
        }),
        ..DiscoveryRequest::default()
    };
    assert_eq!(
        Sotw::node_of(&DiscoveryRequest::default()),
        Err(SessionError::NoNode)
    );
    assert_eq!(Sotw::node_of(&node("")), Err(SessionError::NoNode));
    let error = Sotw::node_of(&node("envoy-1")).unwrap_err();
    assert!(error.to_string().contains("\"envoy-1\""), "{error}");

    let mut client = Client::new();
    let error = client
        .session
        .request(DiscoveryRequest::default())
        .unwrap_err();
    assert!(matches!(error, SessionError::NoType(_)), "{error}");
    for i in 0..MAX_TYPES {
        let request = DiscoveryRequest {
            type_url: format!("type-{i}"),
            ..DiscoveryRequest::default()
        };
        assert_eq!(client.session.request(request), Ok(None));
    }
    let one_more = DiscoveryRequest {
        type_url: C.to_owned(),
        ..DiscoveryRequest::default()
    };
    assert!(matches!(
        client.session.request(one_more),
        Err(SessionError::TooManyTypes(..))
    ));
}

/// Plays a script against one session, and remembers what it was sent.
struct Client {
    session: Sotw,
    generation: u64,
    log: Vec<DiscoveryResponse>,
    nacks: Vec<Nack>,
}

impl Client {
    fn new() -> Self {
        let node = Node::sidecar("a", "default");
        let session = Sotw::new(node, view(1, BASE.iter().copied()));
        Self {
            session,
            generation: 1,
            log: Vec::new(),
            nacks: Vec::new(),
        }
    }

    fn play(&mut self, name: &str, script: &[Step]) {
        for (index, step) in script.iter().enumerate() {
            match step {
                Ask(url, names) => self.send(url, names, String::new(), false),
                Ack(url, names) => self.send(url, names, self.nonces(url, 0), false),
                Refuse(url, names) => self.send(url, names, self.nonces(url, 0), true),
                Late(url, names) => self.send(url, names, self.nonces(url, 1), false),
                Foreign(url, names) => self.send(url, names, "other/9#9".to_owned(), false),
                Config(resources) => self.config(resources.iter().copied()),
                Sent(expected) => {
                    let sent = self.take();
                    let expected: Vec<_> = (expected.iter())
                        .map(|(url, names)| {
                            (
                                (*url).to_owned(),
                                names.iter().map(|n| (*n).to_owned()).collect(),
                            )
                        })
                        .collect();
                    assert_eq!(sent, expected, "{name}: step {index}");
                }
            }
        }
    }

    fn send(&mut self, url: &str, names: Named, nonce: String, refuse: bool) {
        let mut request = self.message(url, names, nonce);
        if refuse {
            request.error_detail = Some(Status {
                code: 3,
                message: "no good".to_owned(),
                ..Status::default()
            });
        }
        let nack = self.session.request(request).unwrap();
        assert_eq!(nack.is_some(), refuse);
        self.nacks.extend(nack);
    }

    fn message(&self, url: &str, names: Named, nonce: String) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: url.to_owned(),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            response_nonce: nonce,
            ..DiscoveryRequest::default()
        }
    }

    /// The nonce of the last response of the type, or of one `back` before it.
    fn nonces(&self, url: &str, back: usize) -> String {
        self.log
            .iter()
            .rev()
            .filter(|r| r.type_url == url)
            .nth(back)
            .unwrap()
            .nonce
            .clone()
    }

    fn config<'a>(&mut self, resources: impl IntoIterator<Item = &'a str>) {
        self.generation += 1;
        self.session.update(view(self.generation, resources));
    }

    /// Everything that is owed: type, and `name=content` of each resource.
    fn take(&mut self) -> Vec<(String, Vec<String>)> {
        let mut sent = Vec::new();
        while let Some(response) = self.session.response() {
            let text = |any: &Any| String::from_utf8(any.value.clone()).unwrap();
            sent.push((
                response.type_url.clone(),
                response.resources.iter().map(text).collect(),
            ));
            self.log.push(response);
        }
        sent
    }
}

pub(in crate::session) fn view<'a>(
    generation: u64,
    resources: impl IntoIterator<Item = &'a str>,
) -> View {
    let mut compiled = Compiled::default();
    for resource in resources {
        let (kind, text) = resource.split_once(':').unwrap();
        let (name, _) = text.split_once('=').unwrap();
        let map = match kind {
            "c" => &mut compiled.resources.clusters,
            "e" => &mut compiled.resources.endpoints,
            "r" => &mut compiled.resources.routes,
            // A listener of the dialect of sidecars; the others are of gRPC's.
            "s" => &mut compiled.resources.listeners,
            _ => {
                compiled.dialect = Dialect::Grpc;
                &mut compiled.resources.listeners
            }
        };
        map.insert(
            name.to_owned(),
            Any {
                type_url: String::new(),
                value: text.as_bytes().to_vec(),
            },
        );
    }
    View {
        version: format!("run/{generation}").into(),
        compiled: Arc::new(compiled),
    }
}
