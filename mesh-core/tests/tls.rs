//! Terms of TLS are equal when they lead to the same connection.

use std::collections::HashSet;

use mesh_core::cluster::Protocol;
use mesh_core::identity::{PeerRule, SanMatcher};
use mesh_core::matcher::{FullRegex, StringMatcher};
use mesh_core::tls::{
    Alpn, CertName, ClientAuth, ClientTerms, ClientTls, RootName, ServerTerms, ServerTls,
    TlsVersion,
};

fn exact(text: &str) -> SanMatcher {
    SanMatcher::Uri(StringMatcher::Exact(text.as_bytes().into()))
}

fn one_of(all: &[SanMatcher]) -> PeerRule {
    PeerRule::OneOf(all.into())
}

fn terms(peer: PeerRule) -> ClientTerms {
    ClientTerms {
        who: "cluster a".into(),
        identity: Some(CertName::Workload),
        roots: RootName::Workload,
        min: TlsVersion::V1_2,
        peer,
        sni: Some("a.b".into()),
        alpn: Alpn::Istio,
    }
}

fn rules() -> Vec<PeerRule> {
    let string = |matcher| one_of(&[SanMatcher::Uri(matcher)]);
    let text = || b"spiffe://a/b"[..].into();
    let domain = |name: &str| name.parse().expect("a trust domain");
    vec![
        PeerRule::InMesh,
        PeerRule::Host("a.b".into()),
        PeerRule::Host("b".into()),
        one_of(&[]),
        string(StringMatcher::Exact(text())),
        string(StringMatcher::Prefix(text())),
        string(StringMatcher::Suffix(text())),
        string(StringMatcher::Contains(text())),
        string(StringMatcher::Regex(
            FullRegex::new("spiffe://a/b").expect("a pattern"),
        )),
        string(StringMatcher::Exact(text()).ignoring_case()),
        one_of(&["a.b".parse().map(SanMatcher::Dns).expect("a name")]),
        one_of(&[exact("a.b")]),
        one_of(&["10.0.0.1".parse().map(SanMatcher::Ip).expect("a name")]),
        one_of(&["10.0.0.1".parse().map(SanMatcher::Dns).expect("a name")]),
        one_of(&[exact("a"), exact("b")]),
        // One name that is written like two.
        one_of(&[exact("a\", URI \"b")]),
        one_of(&[exact("a, b")]),
        PeerRule::Domains([domain("a")].into()),
        PeerRule::Domains([domain("b")].into()),
        PeerRule::Domains([domain("a"), domain("b")].into()),
    ]
}

/// Terms of which no two are equal.
fn different() -> Vec<ClientTls> {
    let mut all: Vec<ClientTls> = rules().into_iter().map(|rule| terms(rule).into()).collect();
    let base = || terms(PeerRule::InMesh);
    let exactly =
        |names: &[&str]| Alpn::Exactly(names.iter().map(|name| name.as_bytes().into()).collect());
    let sni = |name: &str| Some(name.into());
    all.push(
        ClientTerms {
            identity: None,
            ..base()
        }
        .into(),
    );
    all.push(
        ClientTerms {
            sni: None,
            ..base()
        }
        .into(),
    );
    all.push(
        ClientTerms {
            sni: sni("None"),
            ..base()
        }
        .into(),
    );
    all.push(
        ClientTerms {
            sni: sni("a.b\") | istio"),
            ..base()
        }
        .into(),
    );
    let pair = |chain: &str| {
        let (chain, key) = (chain.into(), "key".into());
        Some(CertName::Files { chain, key })
    };
    for identity in [pair("a"), pair("b")] {
        all.push(ClientTerms { identity, ..base() }.into());
    }
    for roots in [
        RootName::System,
        RootName::File("a".into()),
        RootName::File("b".into()),
    ] {
        all.push(ClientTerms { roots, ..base() }.into());
    }
    let min = TlsVersion::V1_3;
    all.push(ClientTerms { min, ..base() }.into());
    for alpn in [
        Alpn::OfProtocol,
        exactly(&[]),
        exactly(&["istio"]),
        exactly(&["a", "b"]),
        exactly(&["b", "a"]),
        exactly(&["a\", \"b"]),
    ] {
        all.push(ClientTerms { alpn, ..base() }.into());
    }
    all
}

#[test]
fn what_differs_is_not_equal() {
    let all = different();
    for (at, one) in all.iter().enumerate() {
        for (beside, other) in all.iter().enumerate() {
            assert_eq!(one == other, at == beside, "{one:?} and {other:?}");
        }
    }
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn what_is_said_otherwise_is_equal() {
    let equal = |one: ClientTerms, other: ClientTerms| {
        assert_eq!(ClientTls::from(one.clone()), other.into(), "{one:?}");
    };
    for rule in rules() {
        equal(terms(rule.clone()), terms(rule.clone()));
        let who = "cluster b".into();
        equal(terms(rule.clone()), ClientTerms { who, ..terms(rule) });
    }
    let (a, b) = (exact("a"), exact("b"));
    let twice = one_of(&[b.clone(), a.clone(), b.clone()]);
    equal(terms(one_of(&[a, b])), terms(twice));
}

#[test]
fn a_server_that_asks_for_nobody_is_another() {
    let server = |client| -> ServerTls {
        let who = "chain".into();
        let alpn = Alpn::accepted();
        ServerTerms {
            who,
            identity: CertName::Workload,
            client,
            alpn,
            min: TlsVersion::V1_2,
            max: TlsVersion::V1_3,
        }
        .into()
    };
    let mut all = vec![server(ClientAuth::None)];
    all.extend(rules().into_iter().map(|peer| {
        let roots = RootName::Workload;
        server(ClientAuth::Required { roots, peer })
    }));
    let mut other = server(ClientAuth::None).terms().clone();
    other.alpn = [b"h2"[..].into()].into();
    all.push(other.into());
    let mut older = server(ClientAuth::None).terms().clone();
    older.max = TlsVersion::V1_2;
    all.push(older.into());
    for (at, one) in all.iter().enumerate() {
        for (beside, other) in all.iter().enumerate() {
            assert_eq!(one == other, at == beside, "{one:?} and {other:?}");
        }
    }
}

#[test]
fn a_list_of_protocols_is_offered_as_it_is() {
    let list = Alpn::Exactly([b"x"[..].into(), b"y"[..].into()].into());
    for protocol in [Protocol::Http1, Protocol::Http2] {
        assert_eq!(list.offered(protocol), [b"x", b"y"]);
    }
    // Of HTTP's versions, the one that is spoken; what cannot be answered or written is left out.
    let long = vec![b'x'; 256].into_boxed_slice();
    let names = [
        &b"istio-peer-exchange"[..],
        b"h2",
        b"",
        b"http/1.1",
        b"istio",
    ]
    .map(Into::into);
    let istiods = Alpn::Exactly(names.into_iter().chain([long]).collect());
    assert_eq!(
        istiods.offered(Protocol::Http1),
        [&b"http/1.1"[..], b"istio"]
    );
    assert_eq!(istiods.offered(Protocol::Http2), [&b"h2"[..], b"istio"]);
    assert_eq!(Alpn::OfProtocol.offered(Protocol::Http2), [b"h2"]);
    assert_eq!(Alpn::OfProtocol.offered(Protocol::Http1), [b"http/1.1"]);
}
