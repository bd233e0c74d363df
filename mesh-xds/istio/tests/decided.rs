//! `AuthorizationPolicy` from its YAML to the decision: every field and every key of a condition, with a call that it is
//! about and calls that it is not about.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use http::Request;
use mesh_core::authz::{Claims, Facts, Value, Verdict};
use mesh_core::identity::{Peer, PeerCertificate, Sans};
use mesh_core::request::admit;
use mesh_core::server::{Chosen, Inbound, Opening, Pipeline, Step};
use mesh_istio::{Options, Rejected};
use mesh_xds::ads::Machine;
use mesh_xds::{Node, ResourceType, Resources, Wanted};

const SERVICE: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a, namespace: default }
spec:
  hosts: [a.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 80, name: http, protocol: HTTP } ]
  endpoints: [ { address: 127.0.31.1, labels: { app: a }, serviceAccount: a } ]
---
";

fn node() -> Node {
    Node::sidecar("a", "default").with_ip(IpAddr::from([127, 0, 31, 1]))
}

fn compiled(action: &str, rule: &str) -> Result<Resources, Rejected> {
    let text = format!(
        "{SERVICE}apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: x, namespace: default }}\nspec: {{ action: {action}, rules: [ {rule} ] }}\n"
    );
    let options = Options::default().certificates(true);
    let loaded = options.parse([("test.yaml".into(), text)])?;
    Ok(loaded.config.resources(&node()))
}

/// What a server of the service does with requests, read from what a control plane sends it.
fn pipeline(action: &str, rule: &str) -> Arc<Pipeline> {
    let resources = compiled(action, rule).unwrap_or_else(|e| panic!("{e}\n\n{rule}"));
    let now = Instant::now();
    let mut machine = Machine::new(node(), "plane:15010");
    machine.want(Wanted::Inbound);
    machine.connected();
    while machine.request(now).is_some() {}
    machine.received(DiscoveryResponse {
        version_info: "1".to_owned(),
        nonce: "1".to_owned(),
        type_url: ResourceType::Listener.type_url().to_owned(),
        resources: resources.listeners.into_values().collect(),
        ..DiscoveryResponse::default()
    });
    let assembled = machine.assemble(now).expect("what is published");
    let Some(Inbound::Rules(rules)) = assembled.inbound.as_deref() else {
        panic!("{:?}", assembled.inbound)
    };
    match rules.port(80).choose(&Opening::Plaintext) {
        Chosen::Plaintext(pipeline) => Arc::clone(pipeline),
        other => panic!("{other:?}"),
    }
}

/// A call, and what is known of who makes it.
#[derive(Clone)]
struct Call {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    team: Option<&'static str>,
    peer: Option<&'static str>,
    local: ([u8; 4], u16),
    direct: [u8; 4],
    remote: [u8; 4],
    sni: Option<&'static str>,
    token: Option<Value>,
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.map(|(name, value)| (name.into(), value));
    Value::Object(fields.into())
}

fn token(name: &str, value: &Value) -> Option<Value> {
    let mut fields = [
        ("iss", text("issuer")),
        ("sub", text("ada")),
        ("aud", Value::List([text("books"), text("films")].into())),
        ("azp", text("page")),
        // As the filter for tokens writes what a token says in one text.
        ("scope", Value::List([text("read"), text("write")].into())),
        ("realm", object([("role", text("editor"))])),
    ];
    for field in &mut fields {
        if field.0 == name {
            field.1 = value.clone();
        }
    }
    Some(object([("payload", object(fields))]))
}

impl Call {
    /// What every row of the tables is about.
    fn good() -> Self {
        Self {
            method: "GET",
            host: "books.example",
            path: "/books/1",
            team: Some("red"),
            peer: Some("spiffe://cluster.local/ns/shop/sa/page"),
            local: ([127, 0, 31, 1], 80),
            direct: [10, 0, 0, 7],
            remote: [203, 0, 113, 9],
            sni: Some("inner.example"),
            token: token("", &Value::Null),
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut call = Self::good();
        change(&mut call);
        call
    }

    fn passes(&self, pipeline: &Pipeline) -> bool {
        let mut request = Request::builder().method(self.method).uri(self.path);
        request = request.header("host", self.host);
        if let Some(team) = self.team {
            request = request.header("x-team", team);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let head = admit(parts, pipeline.paths, "https").expect("a good head");
        let peer = self.peer.map_or(Peer::Plaintext, |uri| {
            let sans = Sans {
                uri: [uri.into()].into(),
                dns: Box::default(),
                ip: Box::default(),
                unreadable: 0,
            };
            Peer::Proven(Arc::new(PeerCertificate::new(sans, "", [0; 32], 0)))
        });
        let facts = Facts {
            seen: head.seen(),
            peer: &peer,
            local: SocketAddr::from(self.local),
            direct: self.direct.into(),
            remote: self.remote.into(),
            sni: self.sni,
            claims: self.token.as_ref().map_or(Claims::None, Claims::Verified),
        };
        let mut asked = 0;
        for step in &pipeline.steps {
            let Step::Authorize(rbac) = step else {
                panic!("{step:?}")
            };
            asked += 1;
            if rbac.decide(&facts).verdict == Verdict::Deny {
                return false;
            }
        }
        assert_eq!(asked, 1, "one policy");
        true
    }

    /// Whether a rule is about it: `(is denied by it, is allowed by it)`.
    fn met(&self, rule: &str) -> (bool, bool) {
        let [denies, allows] = ["DENY", "ALLOW"].map(|action| pipeline(action, rule));
        (!self.passes(&denies), self.passes(&allows))
    }
}

const YES: (bool, bool) = (true, true);
const NO: (bool, bool) = (false, false);
/// Denied and not allowed.
const UNKNOWN: (bool, bool) = (true, false);

/// Values that the good call has, and calls that have others or none.
type Row = (&'static str, &'static str, Vec<Call>);

fn peers(others: &[&'static str]) -> Vec<Call> {
    let nobody = Call::with(|call| call.peer = None);
    let others = others.iter().map(|id| Call::with(|it| it.peer = Some(id)));
    others.chain([nobody]).collect()
}

fn tokens(name: &str, other: &Value) -> Vec<Call> {
    vec![
        Call::with(|call| call.token = token(name, other)),
        Call::with(|call| call.token = None),
    ]
}

const ELSEWHERE: [u8; 4] = [192, 0, 2, 1];

fn directs() -> Vec<Call> {
    vec![Call::with(|call| call.direct = ELSEWHERE)]
}

fn remotes() -> Vec<Call> {
    vec![Call::with(|call| call.remote = ELSEWHERE)]
}

fn ports() -> Vec<Call> {
    vec![Call::with(|call| call.local.1 = 8080)]
}

fn sources() -> Vec<Row> {
    let others = |id| peers(&[id]);
    vec![
        (
            "principals",
            "cluster.local/ns/shop/sa/page",
            peers(&[
                "spiffe://cluster.local/ns/shop/sa/page2",
                "spiffe://other/ns/shop/sa/page",
            ]),
        ),
        (
            "requestPrincipals",
            "issuer/ada",
            tokens("sub", &text("eve")),
        ),
        (
            "requestPrincipals",
            "issuer/*",
            tokens("iss", &text("other")),
        ),
        (
            "namespaces",
            "shop",
            others("spiffe://cluster.local/ns/shop2/sa/page"),
        ),
        (
            "serviceAccounts",
            "shop/page",
            others("spiffe://cluster.local/ns/default/sa/page"),
        ),
        (
            "trustDomains",
            "cluster.local",
            others("spiffe://cluster.local2/ns/shop/sa/page"),
        ),
        ("ipBlocks", "10.0.0.0/8", directs()),
        ("remoteIpBlocks", "203.0.113.0/24", remotes()),
    ]
}

fn operations() -> Vec<Row> {
    vec![
        (
            "hosts",
            "books.example",
            vec![Call::with(|call| call.host = "films.example")],
        ),
        ("ports", "80", ports()),
        (
            "methods",
            "GET",
            vec![Call::with(|call| call.method = "POST")],
        ),
        (
            "paths",
            "/books/*",
            vec![Call::with(|call| call.path = "/films/1")],
        ),
    ]
}

/// About who calls, but for tokens.
fn conditions_of_callers() -> Vec<Row> {
    let others = |id| peers(&[id]);
    vec![
        (
            "request.headers[x-team]",
            "red",
            vec![
                Call::with(|call| call.team = Some("blue")),
                Call::with(|call| call.team = None),
            ],
        ),
        ("source.ip", "10.0.0.7", directs()),
        ("remote.ip", "203.0.113.9", remotes()),
        (
            "source.namespace",
            "shop",
            others("spiffe://cluster.local/ns/shop2/sa/page"),
        ),
        (
            "source.serviceAccount",
            "shop/page",
            others("spiffe://cluster.local/ns/shop/sa/other"),
        ),
        (
            "source.trustDomain",
            "cluster.local",
            others("spiffe://other/ns/shop/sa/page"),
        ),
        (
            "source.principal",
            "cluster.local/ns/shop/sa/page",
            others("spiffe://cluster.local/ns/shop/sa/other"),
        ),
    ]
}

/// About tokens, and where a call goes.
fn conditions_of_calls() -> Vec<Row> {
    vec![
        (
            "request.auth.principal",
            "issuer/ada",
            tokens("sub", &text("eve")),
        ),
        (
            "request.auth.audiences",
            "films",
            tokens("aud", &text("music")),
        ),
        (
            "request.auth.presenter",
            "page",
            tokens("azp", &text("other")),
        ),
        (
            "request.auth.claims[scope]",
            "read",
            tokens("scope", &text("write")),
        ),
        (
            "request.auth.claims[realm][role]",
            "editor",
            tokens("realm", &object([("role", text("reader"))])),
        ),
        (
            "destination.ip",
            "127.0.31.0/24",
            vec![Call::with(|call| call.local.0 = ELSEWHERE)],
        ),
        ("destination.port", "80", ports()),
        (
            "connection.sni",
            "inner.example",
            vec![
                Call::with(|call| call.sni = Some("outer.example")),
                Call::with(|call| call.sni = None),
            ],
        ),
    ]
}

/// A rule of these values is about the good call and not about the others; one that excludes them, the other way round.
fn holds((name, value, others): &Row, positive: &str, negative: &str) {
    assert!(!others.is_empty(), "{name}");
    let good = Call::good();
    assert_eq!(good.met(positive), YES, "{positive}");
    assert_eq!(good.met(negative), NO, "{negative}");
    for (at, other) in others.iter().enumerate() {
        let told = format!("{name} {value}, call {at}");
        assert_eq!(other.met(positive), NO, "{told}");
        assert_eq!(other.met(negative), YES, "not {told}");
        // The control: it is a call like another.
        assert_eq!(other.met("{}"), YES, "{told}");
    }
}

fn negated(field: &str) -> String {
    let (first, rest) = field.split_at(1);
    format!("not{}{rest}", first.to_uppercase())
}

/// What the reader of this place in a rule knows, by its own word.
fn allowed(rule: &str, before: &str) -> BTreeSet<String> {
    let told = compiled("ALLOW", rule).expect_err(rule).to_string();
    let (_, list) = told.split_once(before).unwrap_or_else(|| panic!("{told}"));
    let line = list.lines().next().expect("a line");
    line.split(", ").map(str::to_owned).collect()
}

fn each_field_decides(rows: &[Row], rule: impl Fn(&str) -> String) {
    for row in rows {
        let (field, value, _) = row;
        let positive = rule(&format!("{field}: ['{value}']"));
        let negative = rule(&format!("{}: ['{value}']", negated(field)));
        holds(row, &positive, &negative);
    }
    let fields = rows.iter().map(|row| row.0);
    let tested: BTreeSet<String> = fields
        .flat_map(|field| [field.to_owned(), negated(field)])
        .collect();
    assert_eq!(tested, allowed(&rule("x: ['y']"), "allowed are: "));
}

#[test]
fn each_field_of_a_source_decides() {
    each_field_decides(&sources(), |field| {
        format!("{{ from: [ {{ source: {{ {field} }} }} ] }}")
    });
}

#[test]
fn each_field_of_an_operation_decides() {
    each_field_decides(&operations(), |field| {
        format!("{{ to: [ {{ operation: {{ {field} }} }} ] }}")
    });
}

fn condition(key: &str, values: &str) -> String {
    format!("{{ when: [ {{ key: '{key}', {values} }} ] }}")
}

#[test]
fn each_key_of_a_condition_decides() {
    let rows = [conditions_of_callers(), conditions_of_calls()].concat();
    for row in &rows {
        let (key, value, _) = row;
        let positive = condition(key, &format!("values: ['{value}']"));
        let negative = condition(key, &format!("notValues: ['{value}']"));
        holds(row, &positive, &negative);
    }
    let outer = |key: &str| key.split('[').next().unwrap_or_default().to_owned();
    let mut tested: BTreeSet<String> = rows.iter().map(|row| outer(row.0)).collect();
    // What another filter wrote is not known here: it lets nobody in, and DENY takes it for met.
    let others = "experimental.envoy.filters.FILTER[NAME]";
    for values in ["values: [a]", "notValues: [a]"] {
        let key = "experimental.envoy.filters.network.mysql_proxy[db.table]";
        assert_eq!(Call::good().met(&condition(key, values)), UNKNOWN);
    }
    tested.insert(outer(others));
    let keys = allowed(&condition("x", "values: [a]"), "must be one of ");
    assert_eq!(
        tested,
        keys.iter().map(|key| outer(key)).collect(),
        "{keys:?}"
    );
}

/// A rule is met by one of `from` with one of `to` and all of `when`, and of a policy's rules one is enough.
#[test]
fn parts_of_a_rule_hold_together_and_rules_by_themselves() {
    let from = "from: [ { source: { namespaces: [x] } }, { source: { namespaces: [shop] } } ]";
    let to = "to: [ { operation: { methods: [PUT] } }, { operation: { methods: [GET], paths: [/books/1] } } ]";
    let when = "when: [ { key: 'request.headers[x-team]', values: [red, blue] } ]";
    let rule = format!("{{ {from}, {to}, {when} }}");
    let met = |change: fn(&mut Call)| Call::with(change).met(&rule);
    assert_eq!(met(|_| {}), YES);
    assert_eq!(met(|call| call.team = Some("blue")), YES);
    assert_eq!(met(|call| call.method = "PUT"), YES);
    assert_eq!(met(|call| call.team = None), NO);
    assert_eq!(met(|call| call.path = "/books/2"), NO);
    assert_eq!(met(|call| call.peer = None), NO);
    let other = "{ to: [ { operation: { paths: [/open] } } ] }";
    let call = Call::with(|call| {
        call.path = "/open";
        call.peer = None;
    });
    assert_eq!(call.met(&format!("{rule}, {other}")), YES);
    assert_eq!(call.met(&rule), NO);
}
