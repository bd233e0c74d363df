//! Scripts of one client against the machine: what it says, what the folder does, what it must be sent.

use envoy_types::pb::google::rpc::Status;

use super::*;
use crate::session::sotw::tests::{BASE, Named, view};

const C: &str = ResourceType::Cluster.type_url();
const E: &str = ResourceType::Endpoints.type_url();
const R: &str = ResourceType::Route.type_url();
const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

enum Step {
    /// Begins to follow these names.
    Follow(&'static str, Named),
    /// Ends to follow these.
    Leave(&'static str, Named),
    /// Both in one request.
    Swap(&'static str, Named, Named),
    /// An ACK of the last response: nothing but its nonce.
    Ack(&'static str),
    /// A refusal of the last response.
    Refuse(&'static str),
    /// A new stream: the client tells what it has been sent so far of a type, and follows these names.
    Again(&'static str, Named),
    /// The stream breaks; the session starts over.
    Break,
    /// The folder now holds these resources, each `type:name=content`, type one of c, e, r.
    Config(Named),
    /// What the client is sent now, in this order: type, `name=content` of each resource, `-name` of each removed.
    Sent(&'static [(&'static str, Named)]),
}
use Step::{Ack, Again, Break, Config, Follow, Leave, Refuse, Sent, Swap};

const SETTLED: &[Step] = &[
    Follow(C, &[]),
    Sent(&[(C, &["a=1", "b=1"])]),
    Ack(C),
    Follow(E, &["a", "b"]),
    Sent(&[(E, &["a=1", "b=1"])]),
    Ack(E),
    Follow(R, &["80"]),
    Sent(&[(R, &["80=1"])]),
    Ack(R),
    Sent(&[]),
];

/// Each goes on from `SETTLED`.
const SCRIPTS: &[(&str, &[Step])] = &[
    (
        "the same content in another generation is not sent",
        &[Config(BASE), Sent(&[])],
    ),
    (
        "a new cluster is sent alone to who follows all",
        &[
            Config(&["c:a=1", "c:b=1", "c:d=1", "e:a=1", "e:b=1", "r:80=1"]),
            Sent(&[(C, &["d=1"])]),
        ],
    ),
    (
        "a changed cluster is sent alone, and its endpoints again",
        &[
            Config(&["c:a=1", "c:b=2", "e:a=1", "e:b=1", "r:80=1"]),
            Sent(&[(C, &["b=2"]), (E, &["b=1"])]),
        ],
    ),
    (
        "an edit that is taken back before it was sent is not sent",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=2", "e:b=1", "r:80=2"]),
            Config(BASE),
            Sent(&[]),
        ],
    ),
    (
        "an edit that is taken back after it was sent is sent",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=2"]),
            Sent(&[(R, &["80=2"])]),
            Config(BASE),
            Sent(&[(R, &["80=1"])]),
        ],
    ),
    (
        "new things first, removals last, and routes are emptied",
        &[
            Config(&["c:a=1", "c:d=1", "e:a=2"]),
            Sent(&[
                (C, &["d=1"]),
                (E, &["a=2"]),
                (R, &["\n\u{2}80"]),
                (E, &["-b"]),
                (C, &["-b"]),
            ]),
        ],
    ),
    (
        "what came and went unsent is not told",
        &[
            Config(&["c:a=1", "c:b=1", "c:d=1", "e:a=1", "e:b=1", "r:80=1"]),
            Config(BASE),
            Sent(&[]),
        ],
    ),
    (
        "a name that does not exist is told as removed at once, and sent when it comes",
        &[
            Follow(E, &["x"]),
            Sent(&[(E, &["-x"])]),
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "e:x=1", "r:80=1"]),
            Sent(&[(E, &["x=1"])]),
        ],
    ),
    (
        "a name that comes again is answered",
        &[Follow(E, &["a"]), Sent(&[(E, &["a=1"])])],
    ),
    (
        "names that are left are not sent",
        &[
            Leave(E, &["a"]),
            Config(&["c:a=1", "c:b=1", "e:a=2", "e:b=2", "r:80=1"]),
            Sent(&[(E, &["b=2"])]),
            Swap(E, &["a"], &["b"]),
            Sent(&[(E, &["a=2"])]),
            Config(BASE),
            Sent(&[(E, &["a=1"])]),
        ],
    ),
    (
        "who leaves all keeps what it named",
        &[
            Follow(C, &["a"]),
            Sent(&[(C, &["a=1"])]),
            Leave(C, &["*"]),
            Config(&["c:a=2", "c:b=2"]),
            Sent(&[(C, &["a=2"]), (R, &["\n\u{2}80"]), (E, &["-a", "-b"])]),
        ],
    ),
    (
        "who leaves a name and follows all is told whether it still has it",
        &[
            Follow(C, &["a", "x"]),
            Sent(&[(C, &["a=1"]), (C, &["-x"])]),
            Leave(C, &["a", "x"]),
            Sent(&[(C, &["a=1"]), (C, &["-x"])]),
        ],
    ),
    (
        "a refused version is not repeated, the next one is sent",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=2"]),
            Sent(&[(R, &["80=2"])]),
            Refuse(R),
            Sent(&[]),
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=3"]),
            Sent(&[(R, &["80=3"])]),
        ],
    ),
    (
        "after a break only what differs is sent",
        &[
            Break,
            Config(&["c:a=2", "c:b=1", "e:a=1", "e:b=2", "r:80=1"]),
            Again(C, &["*"]),
            Again(E, &["a", "b"]),
            Again(R, &["80"]),
            Sent(&[(C, &["a=2"]), (E, &["b=2"])]),
        ],
    ),
    (
        "after a break what has gone is told, and nothing is sent unasked",
        &[
            Break,
            Config(&["c:a=1", "e:a=1"]),
            Again(C, &[]),
            Again(E, &["b"]),
            Sent(&[(C, &[]), (E, &["-b"]), (C, &["-b"])]),
        ],
    ),
    (
        "what is told to be held is not sent",
        &[
            Break,
            Again(E, &["a"]),
            Sent(&[]),
            // Only the first request of a type tells versions.
            Again(E, &["b"]),
            Sent(&[(E, &["b=1"])]),
        ],
    ),
    (
        "a type that we have nothing of: all of it is nothing, a name is not there",
        &[
            Follow(LDS, &[]),
            Sent(&[(LDS, &[])]),
            Ack(LDS),
            Sent(&[]),
            Follow(LDS, &["x"]),
            Sent(&[(LDS, &["-x"])]),
        ],
    ),
];

#[test]
fn scripts() {
    for (name, script) in SCRIPTS {
        let mut client = Client::new();
        client.play("settled", SETTLED);
        client.play(name, script);
    }
}

#[test]
fn first_requests() {
    let table: &[(&str, &[Step])] = &[
        (
            "no names of a type by name ask for nothing",
            &[Follow(E, &[]), Follow(R, &[]), Sent(&[])],
        ),
        (
            "all by its name",
            &[Follow(C, &["*"]), Sent(&[(C, &["a=1", "b=1"])])],
        ),
        (
            "clusters by name",
            &[
                Follow(C, &["b"]),
                Sent(&[(C, &["b=1"])]),
                Config(&["c:a=2", "c:b=1"]),
                Sent(&[]),
                Follow(C, &["*"]),
                Sent(&[(C, &["a=2"])]),
            ],
        ),
        (
            "listeners of gRPC's dialect",
            &[
                Config(&["l:x:1=1", "l:y:1=1"]),
                Follow(LDS, &["x:1"]),
                Sent(&[(LDS, &["x:1=1"])]),
                Config(&["l:y:1=1"]),
                Sent(&[(LDS, &["-x:1"])]),
            ],
        ),
        (
            "listeners of sidecars",
            &[
                Config(&["s:in=1", "c:a=1"]),
                Follow(LDS, &[]),
                Sent(&[(LDS, &["in=1"])]),
                Ack(LDS),
                Config(&["s:in=2", "c:a=1"]),
                Sent(&[(LDS, &["in=2"])]),
                Config(&["c:a=1"]),
                Sent(&[(LDS, &["-in"])]),
            ],
        ),
        ("nothing is sent unasked", &[Config(&["c:a=2"]), Sent(&[])]),
    ];
    for (name, script) in table {
        Client::new().play(name, script);
    }
}

#[test]
fn a_version_that_is_not_ours_is_replaced() {
    let mut client = Client::new();
    client.play("settled", SETTLED);
    let ours = client.held(E).remove("a").unwrap();
    for (version, sent) in [("nonsense", 1), ("0123", 1), ("", 1), (ours.as_str(), 0)] {
        let mut client = Client::new();
        let versions = HashMap::from([("a".to_owned(), version.to_owned())]);
        client.send(DeltaDiscoveryRequest {
            initial_resource_versions: versions,
            ..request(E, &["a"], &[])
        });
        assert_eq!(client.take().len(), sent, "{version}");
    }
}

#[test]
fn a_refusal_is_told_with_the_version_that_it_refuses() {
    let mut client = Client::new();
    client.play("settled", SETTLED);
    client.play(
        "edit",
        &[
            Config(&["c:a=1", "c:b=1", "e:a=1", "e:b=1", "r:80=2"]),
            Sent(&[(R, &["80=2"])]),
            Refuse(R),
        ],
    );
    let expected = Nack {
        node: "sidecar~127.0.0.1~a.default~default.svc.cluster.local".to_owned(),
        type_url: R.to_owned(),
        version: "run/2".to_owned(),
        message: "no good".to_owned(),
    };
    assert_eq!(client.nacks, [expected]);
    let nonces: BTreeSet<_> = client.log.iter().map(|r| &r.nonce).collect();
    assert_eq!((nonces.len(), client.log.len()), (4, 4));
}

#[test]
fn names_of_one_stream_are_bounded() {
    let mut client = Client::new();
    let long = "x".repeat(1 << 20);
    let many = |i: usize| DeltaDiscoveryRequest {
        type_url: E.to_owned(),
        resource_names_subscribe: vec![format!("{i}{long}")],
        ..DeltaDiscoveryRequest::default()
    };
    // As many as one likes, one after the other.
    for i in 0..100 {
        client.send(many(i));
        client.take();
        client.send(DeltaDiscoveryRequest {
            resource_names_unsubscribe: many(i).resource_names_subscribe,
            ..request(E, &[], &[])
        });
    }
    let fits = MAX_NAMES >> 20;
    let refused = (0..=fits).find_map(|i| client.session.request(many(i)).err());
    let error = refused.expect("an end").to_string();
    assert!(error.contains("32 MiB"), "{error}");
}

/// Plays a script against one session, and remembers what it was sent.
struct Client {
    session: Delta,
    generation: u64,
    resources: Vec<&'static str>,
    log: Vec<DeltaDiscoveryResponse>,
    nacks: Vec<Nack>,
}

impl Client {
    fn new() -> Self {
        Self {
            session: session(1, BASE),
            generation: 1,
            resources: BASE.to_vec(),
            log: Vec::new(),
            nacks: Vec::new(),
        }
    }

    fn play(&mut self, name: &str, script: &[Step]) {
        for (index, step) in script.iter().enumerate() {
            match step {
                Follow(url, names) => self.send(request(url, names, &[])),
                Leave(url, names) => self.send(request(url, &[], names)),
                Swap(url, names, gone) => self.send(request(url, names, gone)),
                Ack(url) => self.send(self.answer(url)),
                Refuse(url) => {
                    let message = "no good".to_owned();
                    let detail = Status {
                        code: 3,
                        message,
                        ..Status::default()
                    };
                    self.send(DeltaDiscoveryRequest {
                        error_detail: Some(detail),
                        ..self.answer(url)
                    });
                }
                Again(url, names) => self.send(DeltaDiscoveryRequest {
                    initial_resource_versions: self.held(url),
                    ..request(url, names, &[])
                }),
                Break => self.session = session(self.generation, &self.resources),
                Config(resources) => {
                    self.generation += 1;
                    self.resources = resources.to_vec();
                    self.session
                        .update(view(self.generation, resources.iter().copied()));
                }
                Sent(expected) => {
                    let sent = self.take();
                    let sent: Vec<_> = (sent.iter())
                        .map(|(url, names)| {
                            (
                                url.as_str(),
                                names.iter().map(String::as_str).collect::<Vec<_>>(),
                            )
                        })
                        .collect();
                    let expected: Vec<(&str, Vec<&str>)> = (expected.iter())
                        .map(|(url, names)| (*url, names.to_vec()))
                        .collect();
                    assert_eq!(sent, expected, "{name}: step {index}");
                }
            }
        }
    }

    fn send(&mut self, request: DeltaDiscoveryRequest) {
        let refuses = request.error_detail.is_some();
        let nack = self.session.request(request).unwrap();
        assert_eq!(nack.is_some(), refuses);
        self.nacks.extend(nack);
    }

    fn answer(&self, url: &str) -> DeltaDiscoveryRequest {
        let last = self.log.iter().rev().find(|r| r.type_url == url).unwrap();
        DeltaDiscoveryRequest {
            response_nonce: last.nonce.clone(),
            ..request(url, &[], &[])
        }
    }

    /// Name and version of all that was sent of a type and not removed.
    fn held(&self, url: &str) -> HashMap<String, String> {
        let mut held = HashMap::new();
        for response in self.log.iter().filter(|r| r.type_url == url) {
            let resources = response.resources.iter();
            held.extend(resources.map(|r| (r.name.clone(), r.version.clone())));
            held.retain(|name, _| !response.removed_resources.contains(name));
        }
        held
    }

    /// Everything that is owed.
    fn take(&mut self) -> Vec<(String, Vec<String>)> {
        let mut sent = Vec::new();
        while let Some(response) = self.session.response() {
            let text = |r: &Resource| String::from_utf8(r.resource.clone().unwrap().value).unwrap();
            let removed = response.removed_resources.iter().map(|r| format!("-{r}"));
            let all = response.resources.iter().map(text).chain(removed);
            sent.push((response.type_url.clone(), all.collect()));
            self.log.push(response);
        }
        sent
    }
}

fn session(generation: u64, resources: &[&'static str]) -> Delta {
    let view = view(generation, resources.iter().copied());
    Delta::new(Node::sidecar("a", "default"), view)
}

fn request(url: &str, names: &[&str], gone: &[&str]) -> DeltaDiscoveryRequest {
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    DeltaDiscoveryRequest {
        type_url: url.to_owned(),
        resource_names_subscribe: owned(names),
        resource_names_unsubscribe: owned(gone),
        ..DeltaDiscoveryRequest::default()
    }
}
