//! Tokens: those that must not be believed, each with its reason, and what comes of good ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_core::authz::Value;
use mesh_core::jwt::{
    Audiences, ClaimToHeader, Expiration, InvalidJwks, Jwks, KeyType, Keys, Otherwise, Outcome,
    PayloadHeader, Places, Provider, RemoteJwks, Requirement, Rule, Rules, Why, check,
};
use mesh_core::matcher::PathMatcher;
use mesh_core::{RequestView, jwt};
use proptest::prelude::*;
use reference::{ALL, faults};
use scene::{Draft, MadeUp, NOW, Sent, claims, demanding, encoded, key, provider, rules};

#[path = "jwt/hostile.rs"]
mod hostile;
#[path = "support/property.rs"]
mod property;
#[path = "jwt/reference.rs"]
mod reference;
#[path = "jwt/scene.rs"]
mod scene;

#[test]
fn hostile_tokens_are_refused_each_with_its_reason() {
    let rules = demanding(provider());
    let all = hostile::all();
    let classes: BTreeSet<_> = all.iter().map(|hostile| hostile.class).collect();
    eprintln!("{} requests in {} classes", all.len(), classes.len());
    assert!(all.len() >= 200);
    for hostile in &all {
        let outcome = hostile.sent.judged(&rules);
        assert_eq!(outcome, Outcome::Refused(hostile.why), "{}", shown(hostile));
    }
}

#[test]
fn hostile_tokens_are_refused_wherever_they_are() {
    let rules = demanding(provider());
    let mut judged = 0;
    for hostile in hostile::all() {
        let [("x-token", token)] = &*hostile.sent.headers else {
            continue;
        };
        let plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        if hostile.sent.query.is_some() || token.is_empty() || !token.chars().all(plain) {
            continue;
        }
        for sent in [
            Sent::default().header("authorization", format!("Bearer {token}")),
            Sent::default().header("cookie", format!("a=b; token={token}")),
            Sent::default().query(format!("access_token={token}")),
        ] {
            // A URI is not as long as a header may be.
            if sent
                .query
                .as_ref()
                .is_some_and(|query| query.len() > 60_000)
            {
                continue;
            }
            judged += 1;
            let outcome = sent.judged(&rules);
            assert_eq!(
                outcome,
                Outcome::Refused(hostile.why),
                "{}",
                shown(&hostile)
            );
        }
    }
    assert!(judged > 500, "{judged}");
}

/// Of a huge token the beginning.
fn shown(hostile: &hostile::Hostile) -> String {
    let sent = format!("{:?}", hostile.sent);
    let sent: String = sent.chars().take(1_000).collect();
    format!("{}: {sent}", hostile.class)
}

#[test]
fn good_tokens_are_believed() {
    let rules = demanding(provider());
    for sent in hostile::harmless() {
        let outcome = sent.judged(&rules);
        assert!(
            matches!(outcome, Outcome::Verified(_)),
            "{sent:?}: {outcome:?}"
        );
        assert_eq!(faults(&sent), Some(BTreeSet::new()), "{sent:?}");
    }
}

/// The control of the hostile tokens: a reader that lacks one check believes some of them.
#[test]
fn each_check_left_out_lets_one_through() {
    let mut missed: BTreeSet<_> = ALL.into_iter().collect();
    for hostile in hostile::all()
        .iter()
        .filter(|hostile| !hostile.faults.is_empty())
    {
        let wanted = hostile.faults.iter().copied().collect();
        assert_eq!(faults(&hostile.sent), Some(wanted), "{}", shown(hostile));
        if let [only] = hostile.faults {
            missed.remove(only);
        }
    }
    assert!(
        missed.is_empty(),
        "no token has only this fault: {missed:?}"
    );
}

#[test]
fn what_no_reader_can_read_is_so() {
    let mut unreadable = 0;
    for hostile in hostile::all()
        .iter()
        .filter(|hostile| hostile.faults.is_empty())
    {
        let found = faults(&hostile.sent);
        assert!(
            found.is_none_or(|found| !found.is_empty()),
            "{}",
            shown(hostile)
        );
        unreadable += 1;
    }
    assert!(unreadable > 30, "{unreadable}");
}

/// How a text is changed: where, and what is done there.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, char)>> {
    let legal = prop::char::range('!', '~');
    prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, legal), 1..4)
}

fn changed(text: &str, changes: &[(prop::sample::Index, u8, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, how, char) in changes {
        let at = at.index(chars.len());
        match how {
            0 => chars[at] = *char,
            1 => chars.insert(at, *char),
            2 if chars.len() > 1 => drop(chars.remove(at)),
            _ => chars.truncate(at + 1),
        }
    }
    chars.into_iter().collect()
}

#[test]
fn a_token_that_is_changed_anywhere_is_never_believed() {
    let rules = demanding(provider());
    let good: Vec<String> = [
        ("RS256", "r1"),
        ("ES256", "e1"),
        ("EdDSA", "d1"),
        ("PS512", "r1"),
    ]
    .map(|(alg, kid)| Draft::of(alg, kid).token())
    .into();
    for token in &good {
        assert!(matches!(
            Sent::token(token).judged(&rules),
            Outcome::Verified(_)
        ));
    }
    let inputs = (prop::sample::select(good), changes());
    property::holds(20_261_123, 20_000, &inputs, |(token, changes)| {
        let other = changed(&token, &changes);
        let outcome = Sent::token(&other).judged(&rules);
        let believed = matches!(outcome, Outcome::Verified(_));
        prop_assert_eq!(believed, other == token, "{}", other);
        Ok(())
    });
}

fn believed(outcome: Outcome) -> jwt::Verified {
    match outcome {
        Outcome::Verified(verified) => verified,
        other => panic!("{other:?}"),
    }
}

#[test]
fn policy_reads_what_the_token_said() {
    let provider = Provider {
        header_in_metadata: Some("header".into()),
        space_delimited_claims: Box::new(["scope".into(), "absent".into(), "exp".into()]),
        ..provider()
    };
    let said = claims(&[
        ("scope", "\"read  write\""),
        ("groups", "[\"a\",1,true,null]"),
    ]);
    let token = Draft::good().claims(said).token();
    let verified = believed(Sent::token(token).judged(&demanding(provider)));
    let Value::Object(metadata) = verified.metadata else {
        panic!("an object")
    };
    let Some(Value::Object(payload)) = metadata.get("payload") else {
        panic!("a payload")
    };
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(payload["sub"], text("user-1"));
    assert_eq!(
        payload["scope"],
        Value::List(Box::new([text("read"), text("write")]))
    );
    let groups = [
        text("a"),
        Value::Number(1.0),
        Value::Bool(true),
        Value::Null,
    ];
    assert_eq!(payload["groups"], Value::List(Box::new(groups)));
    assert_eq!(payload["exp"], Value::Number((NOW + 600) as f64));
    let Some(Value::Object(header)) = metadata.get("header") else {
        panic!("a header")
    };
    assert_eq!(header["alg"], text("RS256"));
}

fn to_header(name: &'static str, path: &[&str]) -> ClaimToHeader {
    ClaimToHeader {
        name: http::HeaderName::from_static(name),
        path: path.iter().map(|key| (*key).into()).collect(),
    }
}

/// The provider that writes headers.
fn writing() -> Provider {
    Provider {
        payload_header: Some(PayloadHeader {
            name: http::HeaderName::from_static("x-payload"),
            padded: true,
        }),
        claim_to_headers: Box::new([
            to_header("x-sub", &["sub"]),
            to_header("x-number", &["number"]),
            to_header("x-negative", &["negative"]),
            to_header("x-flag", &["flag"]),
            to_header("x-nested", &["a", "b.c"]),
            to_header("x-list", &["list"]),
            to_header("x-null", &["null"]),
            to_header("x-control", &["control"]),
            to_header("x-absent", &["a", "x"]),
        ]),
        ..provider()
    }
}

#[test]
fn headers_of_a_token_are_the_tokens_alone() {
    let said = claims(&[
        ("number", "42.0"),
        ("negative", "-1"),
        ("flag", "true"),
        ("a", "{\"b.c\":\"deep\"}"),
        ("list", "[\"a\\\"\",{\"b\":1}]"),
        ("null", "null"),
        ("control", "\"a\\r\\nx-admin: 1\""),
    ]);
    let rules = demanding(writing());
    let token = Draft::good().claims(said).token();
    let sent = Sent::token(&token)
        .query(format!("a=1&access%5Ftoken={token}&b=%20"))
        .header("x-sub", "user-admin")
        .header("x-sub", "user-root")
        .header("x-absent", "spoofed");
    let verified = believed(sent.judged(&rules));
    let mut parts = sent.parts();
    rules.apply(Some(&verified), &mut parts);
    let has = |name: &str| {
        let all = parts.headers.get_all(name).iter();
        let all: Vec<&str> = all.map(|value| value.to_str().expect("text")).collect();
        all.join("|")
    };
    assert_eq!(has("x-sub"), "user-1");
    assert_eq!(has("x-number"), "42");
    assert_eq!(has("x-negative"), "-1.000000");
    assert_eq!(has("x-flag"), "true");
    assert_eq!(has("x-nested"), "deep");
    assert_eq!(has("x-list"), "WyJhXCIiLHsiYiI6MX1d"); // ["a\"",{"b":1}]
    for name in ["x-null", "x-control", "x-absent", "x-admin", "x-token"] {
        assert_eq!(has(name), "", "{name}");
    }
    let payload = has("x-payload");
    assert_eq!(payload.len() % 4, 0);
    assert_eq!(
        payload.trim_end_matches('='),
        token.split('.').nth(1).expect("a payload")
    );
    assert_eq!(parts.uri.to_string(), "/?a=1&b=%20");
}

#[test]
fn headers_of_a_token_are_taken_off_also_where_none_is() {
    let provider = Arc::new(writing());
    let rules = rules([provider], Requirement::Nothing);
    let sent = Sent::default()
        .header("x-sub", "user-admin")
        .header("x-payload", "e30")
        .header("x-other", "1");
    assert_eq!(sent.judged(&rules), Outcome::Missing);
    let mut parts = sent.parts();
    rules.apply(None, &mut parts);
    let left: Vec<&str> = parts.headers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(left, ["x-other"]);
}

#[test]
fn a_token_is_forwarded_where_it_should_be() {
    let rules = demanding(Provider {
        forward: true,
        ..provider()
    });
    let token = Draft::good().token();
    let sent = Sent::token(&token).query(format!("access_token={token}"));
    let verified = believed(sent.judged(&rules));
    let mut parts = sent.parts();
    rules.apply(Some(&verified), &mut parts);
    assert_eq!(parts.headers, sent.parts().headers);
    assert_eq!(parts.uri, sent.parts().uri);
}

/// Two issuers, as istiod has them: either, or both as far as they are there.
fn two_issuers() -> (Arc<Provider>, Arc<Provider>) {
    let other = Provider {
        name: "origins-1".into(),
        issuer: Some("https://other.example".into()),
        payload_in_metadata: Some("other".into()),
        ..provider()
    };
    (Arc::new(provider()), Arc::new(other))
}

fn either(one: &Arc<Provider>, two: &Arc<Provider>, otherwise: Otherwise) -> Rules {
    let of = [one, two].map(|it| Requirement::Provider(it.clone()));
    let any = Requirement::Any {
        of: Box::new(of),
        otherwise,
    };
    rules([one.clone(), two.clone()], any)
}

#[test]
fn any_of_several_requirements_is_enough() {
    let (one, two) = two_issuers();
    let token =
        |changed: &[(&str, &str)]| Sent::token(Draft::good().claims(claims(changed)).token());
    let other = ("iss", "\"https://other.example\"");
    let stranger = ("iss", "\"https://stranger.example\"");
    let late = ("exp", "1");
    for otherwise in [
        Otherwise::Refused,
        Otherwise::Missing,
        Otherwise::MissingOrFailed,
    ] {
        let rules = either(&one, &two, otherwise);
        assert!(matches!(token(&[]).judged(&rules), Outcome::Verified(_)));
        assert!(matches!(
            token(&[other]).judged(&rules),
            Outcome::Verified(_)
        ));
        let or = |why, passes| {
            if passes {
                Outcome::Missing
            } else {
                Outcome::Refused(why)
            }
        };
        let lenient = otherwise == Otherwise::MissingOrFailed;
        let missing = or(Why::Missing, otherwise != Otherwise::Refused);
        assert_eq!(Sent::default().judged(&rules), missing);
        assert_eq!(
            token(&[stranger]).judged(&rules),
            or(Why::UnknownIssuer, lenient)
        );
        // The fault of the issuer's own provider is told, whichever came last.
        assert_eq!(token(&[late]).judged(&rules), or(Why::Expired, lenient));
        assert_eq!(
            token(&[other, late]).judged(&rules),
            or(Why::Expired, lenient)
        );
        let forged = Sent::token(Draft::good().by(scene::stranger()).token());
        assert_eq!(forged.judged(&rules), or(Why::Verification, lenient));
    }
}

#[test]
fn all_of_several_requirements_are_needed() {
    let (one, two) = two_issuers();
    let two = Arc::new(Provider {
        places: Places {
            headers: Box::default(),
            params: Box::default(),
            cookies: Box::new(["other".into()]),
        },
        ..(*two).clone()
    });
    let of = [&one, &two].map(|it| Requirement::Provider(it.clone()));
    let rules = rules([one, two], Requirement::All(Box::new(of)));
    let ours = Draft::good().token();
    let theirs = Draft::good()
        .claims(claims(&[("iss", "\"https://other.example\"")]))
        .token();
    let both = Sent::token(&ours).header("cookie", format!("other={theirs}"));
    let Value::Object(metadata) = believed(both.judged(&rules)).metadata else {
        panic!("an object")
    };
    assert_eq!(
        metadata.keys().map(|key| &**key).collect::<Vec<_>>(),
        ["other", "payload"]
    );
    assert_eq!(
        Sent::token(&ours).judged(&rules),
        Outcome::Refused(Why::Missing)
    );
    let swapped = Sent::token(&theirs).header("cookie", format!("other={ours}"));
    assert_eq!(swapped.judged(&rules), Outcome::Refused(Why::UnknownIssuer));
}

#[test]
fn every_token_must_be_good_where_none_is_demanded() {
    let (one, two) = two_issuers();
    let all: Arc<[Arc<Provider>]> = Arc::new([one, two]);
    let strict = rules(all.to_vec(), Requirement::AllowMissing(all.clone()));
    let lenient = rules(all.to_vec(), Requirement::AllowMissingOrFailed(all.clone()));
    let good = Draft::good().token();
    let theirs = Draft::good()
        .claims(claims(&[("iss", "\"https://other.example\"")]))
        .token();
    let stranger = Draft::good()
        .claims(claims(&[("iss", "\"https://stranger.example\"")]))
        .token();
    let forged = Draft::good().by(scene::stranger()).token();
    for rules in [&strict, &lenient] {
        assert_eq!(Sent::default().judged(rules), Outcome::Missing);
        for token in [&good, &theirs] {
            assert!(matches!(
                Sent::token(token).judged(rules),
                Outcome::Verified(_)
            ));
        }
    }
    for (token, why) in [
        (&forged, Why::Verification),
        (&stranger, Why::UnknownIssuer),
    ] {
        assert_eq!(Sent::token(token).judged(&strict), Outcome::Refused(why));
        assert_eq!(Sent::token(token).judged(&lenient), Outcome::Missing);
        for (first, second) in [(token, &good), (&good, token)] {
            let both = Sent::token(first).query(format!("access_token={second}"));
            assert!(matches!(both.judged(&strict), Outcome::Refused(_)));
            assert_eq!(both.judged(&lenient), Outcome::Missing);
        }
    }
}

/// A target has room for more tokens than anybody needs.
#[test]
fn of_many_tokens_a_few_are_judged() {
    let (one, two) = two_issuers();
    let all: Arc<[Arc<Provider>]> = Arc::new([one, two]);
    let many = |count: usize| {
        let tokens: Vec<String> = (0..count).map(|at| format!("access_token={at}")).collect();
        Sent::default().query(tokens.join("&"))
    };
    for count in [31, 32, 33, 2000] {
        let strict = rules(all.to_vec(), Requirement::AllowMissing(all.clone()));
        let refused = many(count).judged(&strict);
        assert!(matches!(refused, Outcome::Refused(_)), "{count}");
        let lenient = rules(all.to_vec(), Requirement::AllowMissingOrFailed(all.clone()));
        assert_eq!(many(count).judged(&lenient), Outcome::Missing, "{count}");
    }
}

#[test]
fn rules_are_taken_in_order_and_what_none_matches_passes() {
    let provider = Arc::new(provider());
    let rule = |prefix: &str, requires| Rule {
        path: PathMatcher::Prefix(prefix.into()),
        headers: Box::default(),
        query: Box::default(),
        cookies: Box::default(),
        requires,
    };
    let demands = || Requirement::Provider(provider.clone());
    let all = [rule("/public", Requirement::Nothing), rule("/p", demands())];
    let rules = Rules::new([provider.clone()], all, true, false);
    let judged = |method: &str, path: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        scene::judged(&rules, &parts.method, &parts.uri, &parts.headers)
    };
    let missing = Outcome::Refused(Why::Missing);
    assert_eq!(judged("GET", "/public/x", &[]), Outcome::Missing);
    assert_eq!(judged("GET", "/other", &[]), Outcome::Missing);
    assert_eq!(judged("GET", "/private", &[]), missing);
    let question = [
        ("origin", "https://a"),
        ("access-control-request-method", "GET"),
    ];
    assert_eq!(judged("OPTIONS", "/private", &question), Outcome::Missing);
    assert_eq!(judged("GET", "/private", &question), missing);
    assert_eq!(judged("OPTIONS", "/private", &question[..1]), missing);
    assert_eq!(
        judged("OPTIONS", "/private", &[("origin", ""), question[1]]),
        missing
    );
}

#[test]
fn audiences_of_a_requirement_stand_for_the_providers() {
    let provider = Arc::new(provider());
    let audiences = Audiences::of(["https://other/"]).expect("audiences");
    let requires = Requirement::ProviderAndAudiences(provider.clone(), audiences);
    let rules = rules([provider], requires);
    let token =
        |audience: &str| Sent::token(Draft::good().claims(claims(&[("aud", audience)])).token());
    assert!(matches!(
        token("\"http://other\"").judged(&rules),
        Outcome::Verified(_)
    ));
    assert_eq!(
        token("\"api\"").judged(&rules),
        Outcome::Refused(Why::AudienceNotAllowed)
    );
    assert_eq!(Audiences::of([]), None);
}

#[test]
fn a_lifetime_is_bounded() {
    let rules = demanding(Provider {
        expiration: Expiration::Within(600),
        ..provider()
    });
    let ends = |exp: &str| {
        Sent::token(Draft::good().claims(claims(&[("exp", exp)])).token()).judged(&rules)
    };
    assert!(matches!(
        ends(&(NOW + 600).to_string()),
        Outcome::Verified(_)
    ));
    assert_eq!(
        ends(&(NOW + 601).to_string()),
        Outcome::Refused(Why::Lifetime)
    );
    assert_eq!(ends(""), Outcome::Refused(Why::Lifetime));
}

/// Keys by the URI of their source.
struct Source(BTreeMap<&'static str, Arc<Jwks>>);

impl jwt::Fetched for Source {
    fn keys(&self, source: &Arc<RemoteJwks>) -> Option<Arc<Jwks>> {
        self.0.get(&*source.uri).cloned()
    }
}

#[test]
fn keys_that_are_not_there_refuse() {
    let with = |keys| demanding(Provider { keys, ..provider() });
    let sent = Sent::token(Draft::good().token());
    let unusable = with(Keys::Unusable("a secret".into()));
    assert_eq!(sent.judged(&unusable), Outcome::Refused(Why::NoKeys));
    let seconds = std::time::Duration::from_secs;
    let remote = with(Keys::Remote(Arc::new(RemoteJwks {
        uri: "https://issuer.example/keys".into(),
        cluster: "issuer".into(),
        timeout: seconds(5),
        cache_duration: seconds(600),
        async_fetch: None,
    })));
    assert_eq!(remote.remote().count(), 1);
    assert_eq!(sent.judged(&remote), Outcome::Refused(Why::NotFetched));
    let parts = sent.parts();
    let request = RequestView::of(&parts.method, &parts.uri, &parts.headers);
    let keys = Arc::new(Jwks::parse(scene::key_set().as_bytes()).expect("keys"));
    let fetched = Source([("https://issuer.example/keys", keys)].into());
    let outcome = check(&remote, &request, NOW, &fetched, &MadeUp);
    assert!(matches!(outcome, Outcome::Verified(_)), "{outcome:?}");
}

#[test]
fn answers_are_envoys() {
    let rules = demanding(provider());
    let (method, uri, headers) = (
        http::Method::GET,
        "http://a:80/p\"x?access_token=t",
        http::HeaderMap::new(),
    );
    let uri: http::Uri = uri.parse().expect("a URI");
    let request = RequestView::of(&method, &uri, &headers);
    let answer = |why| {
        let answer = rules.answer(why, &request);
        let challenge = answer.challenge.expect("a challenge");
        (
            answer.status.as_u16(),
            answer.body,
            challenge.to_str().expect("text").to_owned(),
        )
    };
    let realm = "Bearer realm=\"http://a:80/p\"";
    assert_eq!(
        answer(Why::Missing),
        (401, "Jwt is missing".to_owned(), realm.to_owned())
    );
    let invalid = format!("{realm}, error=\"invalid_token\"");
    assert_eq!(
        answer(Why::Expired),
        (401, "Jwt is expired".to_owned(), invalid.clone())
    );
    let other = "Audiences in Jwt are not allowed".to_owned();
    assert_eq!(answer(Why::AudienceNotAllowed), (403, other, invalid));
    let silent = Rules::new([], [], false, true).answer(Why::Expired, &request);
    assert_eq!(
        (silent.status.as_u16(), &*silent.body, silent.challenge),
        (401, "", None)
    );
}

/// A number of so many bytes.
fn number(length: usize, top: u8, last: u8) -> String {
    let mut bytes = vec![7; length];
    bytes[0] = top;
    bytes[length - 1] = last;
    encoded(bytes)
}

fn modulus() -> String {
    number(256, 0x80, 1)
}

fn rsa(n: &str, e: &str) -> String {
    format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#)
}

fn rsa_with(more: &str) -> String {
    format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB",{more}}}"#, modulus())
}

fn ec(crv: &str, length: usize) -> String {
    let at = number(length, 1, 1);
    format!(r#"{{"kty":"EC","crv":"{crv}","x":"{at}","y":"{at}"}}"#)
}

fn okp(crv: &str, length: usize) -> String {
    format!(
        r#"{{"kty":"OKP","crv":"{crv}","x":"{}"}}"#,
        number(length, 1, 1)
    )
}

fn set_of(key: &str) -> Result<Jwks, InvalidJwks> {
    Jwks::parse(format!(r#"{{"keys":[{key}]}}"#).as_bytes())
}

#[test]
fn keys_that_can_be_used_are_read() {
    let good = modulus();
    for key in [
        rsa(&good, "AQAB"),
        rsa(&good, "Aw"),
        rsa(&format!("AAAA{good}"), "AAAD"),
        rsa(&number(1024, 0xff, 1), "AQAB"),
        ec("P-256", 32),
        ec("P-384", 48),
        ec("P-521", 66),
        okp("Ed25519", 32),
        rsa_with("\"use\":\"sig\""),
        rsa_with("\"key_ops\":[\"verify\"]"),
        rsa_with("\"alg\":\"PS512\""),
        rsa_with("\"x5t\":1"),
    ] {
        let set = set_of(&key);
        assert!(set.is_ok(), "{key}: {set:?}");
    }
}

fn unusable(key: &str) {
    let set = set_of(key);
    assert!(
        matches!(set, Err(InvalidJwks::NoValidKeys(_))),
        "{key}: {set:?}"
    );
}

#[test]
fn keys_of_rsa_that_cannot_be_used_are_passed_over() {
    let good = modulus();
    for modulus in [
        number(128, 0x80, 1),
        number(256, 0x7f, 1),
        number(1025, 0x80, 1),
        number(256, 0x80, 2),
        format!("{good}="),
        "!".to_owned(),
    ] {
        unusable(&rsa(&modulus, "AQAB"));
    }
    for exponent in ["AQ", "Ag", "", "AA", "BAAAAAAB", "AgAAAAE"] {
        unusable(&rsa(&good, exponent));
    }
    for more in [
        "\"use\":\"enc\"",
        "\"use\":1",
        "\"key_ops\":[\"sign\"]",
        "\"key_ops\":\"verify\"",
        "\"alg\":\"HS256\"",
        "\"alg\":\"none\"",
        "\"alg\":\"ES256\"",
        "\"alg\":null",
        "\"kid\":1",
    ] {
        unusable(&rsa_with(more));
    }
}

#[test]
fn other_keys_that_cannot_be_used_are_passed_over() {
    for key in [
        "1",
        "{}",
        r#"{"kty":"oct","k":"c2VjcmV0"}"#,
        r#"{"kty":"rsa"}"#,
        r#"{"kty":"RSA","e":"AQAB"}"#,
    ] {
        unusable(key);
    }
    for (curve, length) in [
        ("P-256", 31),
        ("P-256", 33),
        ("P-384", 32),
        ("P-521", 65),
        ("secp256k1", 32),
        ("p-256", 32),
    ] {
        unusable(&ec(curve, length));
    }
    for (curve, length) in [("Ed25519", 31), ("Ed448", 57), ("X25519", 32)] {
        unusable(&okp(curve, length));
    }
    let set = Jwks::parse(scene::key_set().as_bytes()).expect("a key set");
    let told: Vec<&str> = set.passed_over().iter().map(|why| &**why).collect();
    assert_eq!(
        told,
        [
            "keys[6]: [use] is not sig",
            "keys[7]: [kty] is not supported"
        ]
    );
    assert_eq!(set.keys().len(), 6);
}

#[test]
fn sets_that_are_none_say_why() {
    let told = |text: &str| {
        Jwks::parse(text.as_bytes())
            .expect_err("no key set")
            .to_string()
    };
    assert_eq!(told("-----BEGIN"), "Jwks is an invalid JSON");
    assert_eq!(told("[]"), "Jwks is an invalid JSON");
    assert_eq!(told("{\"keys\":[],\"keys\":[]}"), "Jwks is an invalid JSON");
    assert_eq!(told("{}"), "Jwks does not have [keys] field");
    assert!(told("{\"keys\":{}}").starts_with("[keys] in Jwks is not an array"));
    let secret = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AQ\"}]}";
    assert_eq!(
        told(secret),
        "Jwks doesn't have any valid public key: keys[0]: [kty] is not supported"
    );
    let many = format!("{{\"keys\":[{}]}}", vec!["1"; 257].join(","));
    assert!(told(&many).starts_with("[keys] in Jwks is not an array"));
}

#[test]
fn keys_are_in_the_form_of_certificates() {
    let set = Jwks::parse(scene::key_set().as_bytes()).expect("a key set");
    let rsa = set.keys()[0].public_key();
    // SEQUENCE { INTEGER of 257 bytes, the first a zero; INTEGER 65537 }
    assert_eq!(
        rsa[..10],
        [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00, 0x81]
    );
    assert_eq!(rsa[rsa.len() - 5..], [0x02, 0x03, 0x01, 0x00, 0x01]);
    assert_eq!(rsa.len(), 4 + 0x10a);
    let ec = &set.keys()[2];
    assert_eq!((ec.public_key()[0], ec.public_key().len()), (4, 65));
    assert_eq!(ec.public_key(), key("e1").public());
    assert_eq!(set.keys()[5].key_type(), KeyType::Ed25519);
    assert_eq!(set.keys()[5].public_key().len(), 32);
}
