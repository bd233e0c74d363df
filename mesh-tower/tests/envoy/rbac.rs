//! Random policies and requests, judged by our engine and by Envoy's RBAC filter: over mutual TLS with certificates of several
//! kinds, by TLS alone, and in plaintext.

mod callers;
mod json;
mod look;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use mesh_core::authz::{Outcome, Value as Claimed, Verdict};
use rcgen::{CertificateParams, SanType};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dice::Dice;
use crate::model::{self, Action, Held, Rule, Rules, Token, World};
use crate::proxy::{Envoy, address, free, typed};
use crate::support::tls::Authority;
use callers::Sender;

/// Where claims are told.
const CLAIMS: &str = "envoy.filters.http.jwt_authn";
const SEED: u64 = 20_261_123;
const POLICIES: usize = 400;
const CONNECTIONS: usize = 170;
const REQUESTS: usize = 24;

/// Rules as a filter has them.
type Both = (Option<Rules>, Option<Rules>);

/// What Envoy has said: whether the request goes on, by which policy not, and what the rules say that are only tried.
#[derive(Debug, PartialEq)]
struct Said {
    passes: bool,
    denied_by: Option<String>,
    shadow: Option<(bool, Option<String>)>,
}

/// One request, under some rules.
struct Case {
    at: usize,
    world: World,
    said: Said,
}

fn policies(dice: &mut Dice) -> Vec<Both> {
    let mut all = Vec::new();
    while all.len() < POLICIES {
        let both = (dice.some_rules(), dice.some_rules());
        if [&both.0, &both.1].into_iter().flatten().all(look::is_taken) {
            all.push(both);
        }
    }
    all
}

/// Tokens: the first listener has none, each other one says what one of these says.
fn tokens(dice: &mut Dice) -> Vec<Claimed> {
    let mut all = Vec::new();
    while all.len() < 4 {
        if let Token::Says(value @ Claimed::Object(_)) = dice.world().token {
            all.push(value);
        }
    }
    all
}

fn resources(policies: &[Both], tokens: &[Claimed], files: &TempDir) -> Value {
    let route = |(at, (enforced, tried)): (usize, &Both)| {
        let filter = json::filter(enforced.as_ref(), tried.as_ref());
        let own = typed(
            "filters.http.rbac.v3.RBACPerRoute",
            json!({ "rbac": filter }),
        );
        let header = json!({ "name": "x-policy", "string_match": { "exact": at.to_string() } });
        json!({
            "match": { "prefix": "/", "headers": [header] },
            "direct_response": { "status": 200 },
            "typed_per_filter_config": { "rbac": own },
        })
    };
    let routes: Vec<_> = policies.iter().enumerate().map(route).collect();
    let none = (0, None);
    let tokens = tokens.iter().enumerate();
    let tokens = tokens.map(|(at, token)| (at + 1, Some(token)));
    let listeners = [none].into_iter().chain(tokens);
    let listeners: Vec<_> = listeners
        .map(|(at, token)| listener(&format!("l{at}"), token, &routes, files))
        .collect();
    json!({ "listeners": listeners })
}

fn listener(name: &str, token: Option<&Claimed>, routes: &[Value], files: &TempDir) -> Value {
    let filter = |name: &str, kind: &str, fields| json!({ "name": name, "typed_config": typed(kind, fields) });
    let mut filters = vec![
        filter("rbac", "filters.http.rbac.v3.RBAC", json!({})),
        filter("router", "filters.http.router.v3.Router", json!({})),
    ];
    if let Some(token) = token {
        let says = json!([{ "metadata_namespace": CLAIMS, "value": json::claimed(token) }]);
        let kind = "filters.http.set_metadata.v3.Config";
        filters.insert(0, filter("token", kind, json!({ "metadata": says })));
    }
    let shadow =
        |what: &str| format!("%DYNAMIC_METADATA(envoy.filters.http.rbac:dry_shadow_{what})%");
    let told = format!(
        "%RESPONSE_CODE_DETAILS%|{}|{}",
        shadow("engine_result"),
        shadow("effective_policy_id")
    );
    let manager = json!({
        "stat_prefix": "x",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
        "http_filters": filters,
        "local_reply_config": { "body_format": { "text_format_source": { "inline_string": told } } },
    });
    let manager = filter(
        "http",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        manager,
    );
    let file = |name: &str| json!({ "filename": files.path().join(name) });
    let context = json!({ "common_tls_context": {
        "tls_certificates": [{ "certificate_chain": file("chain"), "private_key": file("key") }],
        "validation_context": { "trusted_ca": file("roots") },
    } });
    let socket = filter(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        context,
    );
    json!({
        "name": name,
        "address": address(free()),
        "listener_filters": [
            filter("proxy", "filters.listener.proxy_protocol.v3.ProxyProtocol", json!({})),
            filter("tls", "filters.listener.tls_inspector.v3.TlsInspector", json!({})),
        ],
        "filter_chains": [
            {
                "filter_chain_match": { "transport_protocol": "tls" },
                "filters": [manager],
                "transport_socket": socket,
            },
            { "filter_chain_match": { "transport_protocol": "raw_buffer" }, "filters": [manager] },
        ],
    })
}

/// Envoy's own certificate, and whose it takes.
fn files(authority: &Authority) -> TempDir {
    let files = TempDir::new().unwrap();
    let mut params = CertificateParams::new(["a.example".into(), "b.example".into()]).unwrap();
    let ip = SanType::IpAddress(free().ip());
    params.subject_alt_names.push(ip);
    let own = authority.issue(&params);
    for (name, text) in [
        ("chain", own.certificate.pem()),
        ("key", own.key.serialize_pem()),
        ("roots", authority.pem()),
    ] {
        std::fs::write(files.path().join(name), text).unwrap();
    }
    files
}

/// The same facts as they can be had on a connection to Envoy.
fn sent(mut world: World, of: &World) -> World {
    // Of an address, a socket would say the short form.
    let short = |ip: &'static str| ip.strip_prefix("::ffff:").unwrap_or(ip);
    world.local = (short(of.local.0), of.local.1);
    world.remote = short(of.remote);
    if world.remote.contains(':') != world.local.0.contains(':') {
        world.remote = world.local.0;
    }
    world.direct = "127.0.0.1";
    world.sni = match of.end {
        model::End::Plaintext => None,
        _ => of.sni,
    };
    world.end = of.end.clone();
    world.token = of.token.clone();
    for (_, value) in &mut world.headers {
        *value = value.trim();
    }
    world
}

async fn ask(sender: &mut Sender, at: usize, world: &World) -> Said {
    let query = world
        .query
        .map_or(String::new(), |query| format!("?{query}"));
    let mut request = Request::builder()
        .method(world.method)
        .uri(format!("{}{query}", world.path))
        .header("host", world.authority)
        .header("x-policy", at);
    for (name, value) in &world.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    sender.ready().await.unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let [details, result, policy] = text.split('|').collect::<Vec<_>>().try_into().unwrap();
    let named = |text: &str| (!matches!(text, "-" | "none")).then(|| text.to_owned());
    let denial = details.strip_prefix("rbac_access_denied_matched_policy[");
    let passes = match parts.status.as_u16() {
        200 => true,
        403 => false,
        _ => panic!("{parts:?} {text} for {world:?}"),
    };
    assert_eq!(passes, denial.is_none(), "{text}");
    Said {
        passes,
        denied_by: denial.and_then(|it| named(it.strip_suffix(']').unwrap())),
        shadow: named(result).map(|result| (result == "allowed", named(policy))),
    }
}

/// What Envoy says of all cases.
async fn asked(dice: &mut Dice, policies: &[Both], tokens: &[Claimed]) -> Vec<Case> {
    let authority = Authority::called("the mesh");
    let files = files(&authority);
    let envoy = Envoy::start(resources(policies, tokens, &files)).await;
    let mut listeners = Vec::new();
    for at in 0..=tokens.len() {
        listeners.push(envoy.listener(&format!("l{at}")).await);
    }
    let ways = callers::all(&authority);
    let mut cases = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut of = dice.world();
        let (end, way) = &ways[dice.below(ways.len())];
        let (listener, token) = token(dice, &listeners, tokens);
        (of.end, of.token) = (end.clone(), token);
        let of = sent(of.clone(), &of);
        let mut sender = callers::connect(listener, &of, way.as_ref()).await;
        for _ in 0..REQUESTS {
            let (at, world) = (dice.below(policies.len()), sent(dice.world(), &of));
            let said = ask(&mut sender, at, &world).await;
            cases.push(Case { at, world, said });
        }
    }
    cases
}

fn token(dice: &mut Dice, listeners: &[SocketAddr], tokens: &[Claimed]) -> (SocketAddr, Token) {
    let at = dice.below(listeners.len() + 1);
    match at.checked_sub(2) {
        // Envoy knows one kind of nothing.
        None if at == 0 => (listeners[0], Token::NoFilter),
        None => (listeners[0], Token::None),
        Some(at) => (listeners[at + 1], Token::Says(tokens[at].clone())),
    }
}

/// How one set of rules was judged by both.
enum Same {
    Yes,
    /// We do not know, and so deny, where Envoy lets pass. Why, and of which action.
    Stricter(String),
    No,
}

fn compare(
    rules: &Rules,
    world: &World,
    own: Outcome<'_>,
    passes: bool,
    met: Option<&str>,
) -> Same {
    let own_passes = own.verdict == Verdict::Pass;
    if (own_passes, own.met) == (passes, met) {
        return Same::Yes;
    }
    let doubts = look::doubts(rules, world);
    let is_known = doubts.is_empty() || (own.unsure.is_none() && own.met == met);
    if is_known || (own_passes && !passes) {
        return Same::No;
    }
    let why: Vec<_> = doubts.into_iter().collect();
    let what = match (own_passes, passes) {
        (false, true) => "denied",
        _ => "the policy that is named",
    };
    Same::Stricter(format!("{:?}: {what}, by {}", rules.action, why.join(", ")))
}

/// What differs, and how often we were stricter. Ours is told what `lie` makes of rules and facts. After
/// so many differences it is enough.
fn judged(
    policies: &[Both],
    cases: &[Case],
    lie: Lie,
    most: usize,
) -> (Vec<String>, BTreeMap<String, usize>) {
    let (mut different, mut stricter) = (Vec::new(), BTreeMap::new());
    for Case { at, world, said } in cases {
        if different.len() >= most {
            break;
        }
        let (enforced, tried) = &policies[*at];
        let told = |rules: &Rules| {
            let (mut rules, mut world) = (rules.clone(), world.clone());
            lie(&mut rules, &mut world);
            (rules, world)
        };
        let mut of = |rules: &Rules, passes: bool, met: &dyn Fn(Option<&str>) -> Option<String>| {
            let (own, facts) = told(rules);
            let held = Held::of(&facts);
            let own = model::rules(&own);
            let outcome = own.judge(&held.facts(&facts));
            let met = met(outcome.met);
            match compare(rules, world, outcome, passes, met.as_deref()) {
                Same::Yes => {}
                Same::Stricter(how) => *stricter.entry(how).or_default() += 1,
                Same::No => {
                    different.push(format!("{outcome:?} and {said:?}:\n{rules:?}\n{world:?}"))
                }
            }
        };
        if let Some(rules) = enforced {
            // Who has let a request pass Envoy does not tell.
            let met = |own: Option<&str>| match said.passes {
                true => own.map(str::to_owned),
                false => said.denied_by.clone(),
            };
            of(rules, said.passes, &met);
        }
        if let (Some(rules), Some((passes, met))) = (tried, &said.shadow) {
            of(rules, *passes, &|_| met.clone());
        }
        // The answer to who is denied is written before Envoy notes what the others would have said.
        let told = said.passes && tried.is_some();
        let is_told = (said.passes || enforced.is_some()) && said.shadow.is_some() == told;
        if !is_told {
            different.push(format!("{said:?} of {:?}", policies[*at]));
        }
    }
    (different, stricter)
}

type Lie = fn(&mut Rules, &mut World);

/// Misreadings, each of which has to be found.
const LIES: &[(&str, Lie)] = &[
    ("another action", |rules, _| {
        rules.action = match rules.action {
            Action::Deny => Action::Allow,
            _ => Action::Deny,
        };
    }),
    ("the last policy is lost", |rules, _| {
        drop(rules.policies.pop())
    }),
    ("no certificate is seen", |_, world| {
        world.end = model::End::Plaintext
    }),
    ("the remote address is the direct one", |_, world| {
        world.remote = world.direct
    }),
    ("another port", |_, world| world.local.1 = 81),
    ("no headers", |_, world| world.headers.clear()),
    ("no server name", |_, world| world.sni = None),
    ("another path", |_, world| world.path = "/elsewhere"),
    ("another host", |_, world| world.authority = "elsewhere"),
    ("no claims", |_, world| {
        if let Token::Says(_) = world.token {
            world.token = Token::None;
        }
    }),
    ("a negation of principals is lost", |rules, _| {
        for policy in &mut rules.policies {
            for one in &mut policy.principals {
                if let Rule::Not(inner) = one {
                    *one = (**inner).clone();
                }
            }
        }
    }),
];

/// `MESH_ENVOY=$(bash examples/interop/envoy.sh install) cargo test -p mesh-tower --test envoy -- --ignored`
#[tokio::test]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
async fn random_policies_are_judged_as_envoy_judges_them() {
    println!("seed {SEED}");
    let mut dice = Dice::new(SEED);
    let (policies, tokens) = (policies(&mut dice), tokens(&mut dice));
    let cases = asked(&mut dice, &policies, &tokens).await;
    let (different, stricter) = judged(&policies, &cases, |_, _| {}, usize::MAX);
    println!("{} cases, {} differ", cases.len(), different.len());
    for (how, times) in &stricter {
        println!("{times:5} {how}");
    }
    let shown = different.iter().take(5).map(String::as_str);
    assert!(
        different.is_empty(),
        "{}",
        shown.collect::<Vec<_>>().join("\n")
    );
    let denied = cases.iter().filter(|case| !case.said.passes).count();
    assert!(
        denied > cases.len() / 5 && denied < cases.len() * 4 / 5,
        "{denied}"
    );
    let is_unseen = |lie: Lie| judged(&policies, &cases, lie, 1).0.is_empty();
    let unseen = LIES.iter().filter(|(_, lie)| is_unseen(*lie));
    let unseen: Vec<_> = unseen.map(|(name, _)| *name).collect();
    assert!(unseen.is_empty(), "{unseen:?} are not found");
}
