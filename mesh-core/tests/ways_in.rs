//! The choice of the way in for a connection, against a plain reference that narrows a list as Envoy narrows its maps.

use std::cell::Cell;
use std::sync::Arc;

use mesh_core::request::PathNormalization;
use mesh_core::server::{
    Chain, Chosen, Demand, Opening, Pipeline, Port, Remote, Rules, Shut, Why, Xfcc,
};
use mesh_core::tls::{Alpn, CertName, ClientAuth, ServerTerms, ServerTls, TlsVersion};
use proptest::prelude::*;

#[path = "support/property.rs"]
mod property;

/// What a way leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Tls,
    ShutPlain,
    ShutTls,
}

#[derive(Debug, Clone)]
struct Way {
    kind: Kind,
    names: Vec<&'static str>,
    alpn: Vec<&'static str>,
}

#[derive(Debug, Clone)]
struct Hello {
    alpn: Vec<&'static str>,
    sni: Option<&'static str>,
}

fn pipeline(name: String) -> Arc<Pipeline> {
    Arc::new(Pipeline {
        name: name.into(),
        paths: PathNormalization::Base,
        xfcc: Xfcc::Sanitize,
        remote: Remote::default(),
        gateway: None,
        steps: Box::default(),
    })
}

fn demand(way: &Way) -> Demand {
    Demand {
        server_names: way.names.iter().map(|name| (*name).into()).collect(),
        alpn: way.alpn.iter().map(|name| name.as_bytes().into()).collect(),
    }
}

fn terms() -> Arc<ServerTls> {
    Arc::new(ServerTls::from(ServerTerms {
        who: "here".into(),
        identity: CertName::Workload,
        client: ClientAuth::None,
        alpn: Alpn::accepted(),
        min: TlsVersion::V1_2,
        max: TlsVersion::V1_3,
    }))
}

/// Each pipeline has the number of its way as its name.
fn port(ways: &[Way]) -> Port {
    let mut chains = Vec::new();
    let mut shut = Vec::new();
    for (at, way) in ways.iter().enumerate() {
        let (name, demand) = (at.to_string(), demand(way));
        match way.kind {
            Kind::Plain | Kind::Tls => chains.push(Chain {
                name: name.as_str().into(),
                demand,
                tls: (way.kind == Kind::Tls).then(terms),
                pipeline: pipeline(name),
            }),
            Kind::ShutPlain | Kind::ShutTls => shut.push(Shut {
                name: name.into(),
                demand,
                is_tls: way.kind == Kind::ShutTls,
                reason: "not served".into(),
            }),
        }
    }
    Port::new(chains).with_shut(shut)
}

fn shown(chosen: Chosen<'_>) -> Result<String, Why> {
    match chosen {
        Chosen::Plaintext(pipeline) => Ok(format!("plain {}", pipeline.name)),
        Chosen::Tls(_, pipeline) => Ok(format!("tls {}", pipeline.name)),
        Chosen::Close(why) => Err(why),
    }
}

fn chosen(port: &Port, hello: Option<&Hello>) -> Result<String, Why> {
    let Some(hello) = hello else {
        return shown(port.choose(&Opening::Plaintext));
    };
    let alpn: Vec<Box<[u8]>> = hello.alpn.iter().map(|it| it.as_bytes().into()).collect();
    shown(port.choose(&Opening::Tls {
        alpn: &alpn,
        sni: hello.sni,
    }))
}

/// Where the reference can be made to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slip {
    None,
    /// Who finds nothing under his server's name looks among the nameless.
    ComesBack,
    /// The listener's order of protocols instead of the client's.
    ServersOrder,
    /// A wildcard is as good as the exact name.
    AnyName,
    /// A shut way is passed over.
    PassesShut,
}

/// The keys under which Envoy looks for a server's name, the best first.
fn keys(sni: Option<&str>) -> Vec<String> {
    let mut keys = Vec::new();
    if let Some(sni) = sni.map(str::to_ascii_lowercase) {
        keys.push(sni.clone());
        let mut rest = &*sni;
        while let Some((_, parent)) = rest.split_once('.') {
            keys.push(format!("*.{parent}"));
            rest = parent;
        }
    }
    keys.push(String::new());
    keys
}

fn reference(ways: &[Way], hello: Option<&Hello>, slip: Slip) -> Result<String, Why> {
    let is_tls = |way: &Way| matches!(way.kind, Kind::Tls | Kind::ShutTls);
    let is_shut = |way: &Way| matches!(way.kind, Kind::ShutPlain | Kind::ShutTls);
    let listed = |way: &Way, key: &str| match key {
        "" => way.names.is_empty(),
        key => way.names.contains(&key),
    };
    // What is shut goes before its equals.
    let mut all: Vec<(usize, &Way)> = ways.iter().enumerate().collect();
    all.sort_by_key(|(_, way)| !is_shut(way));
    if slip == Slip::PassesShut {
        all.retain(|(_, way)| !is_shut(way));
    }
    let nothing = match hello {
        None => Why::PlaintextRefused,
        Some(_) if !ways.iter().any(is_tls) => Why::TlsRefused,
        Some(_) => Why::NoChain,
    };
    let mut keys = keys(hello.and_then(|hello| hello.sni));
    if slip == Slip::AnyName {
        let last = keys.len() - 1;
        keys.swap(0, last.min(1));
    }
    for key in keys {
        let mut left = all.clone();
        left.retain(|(_, way)| listed(way, &key));
        if left.is_empty() {
            continue;
        }
        left.retain(|(_, way)| is_tls(way) == hello.is_some());
        let mut protocols = match hello {
            None => vec!["http/1.1"],
            Some(hello) => hello.alpn.clone(),
        };
        if slip == Slip::ServersOrder {
            protocols.reverse();
        }
        let shut_plain = left.iter().find(|(_, way)| way.kind == Kind::ShutPlain);
        let found = protocols
            .iter()
            .find_map(|it| left.iter().find(|(_, way)| way.alpn.contains(it)))
            .or_else(|| left.iter().find(|(_, way)| way.alpn.is_empty()));
        // Nobody reads plaintext to see for which of them it is.
        match shut_plain.or(found) {
            Some((_, way)) if is_shut(way) => return Err(Why::Shut),
            Some((at, way)) if is_tls(way) => return Ok(format!("tls {at}")),
            Some((at, _)) => return Ok(format!("plain {at}")),
            None if slip == Slip::ComesBack => {}
            None => return Err(nothing),
        }
    }
    Err(nothing)
}

fn inputs() -> impl Strategy<Value = (Vec<Way>, Vec<Hello>)> {
    const NAMES: [&str; 5] = ["a.b.c", "x.b.c", "*.b.c", "*.c", "*.a.b.c"];
    const TLS: [&str; 5] = ["istio", "istio-http/1.1", "istio-h2", "h2", "http/1.1"];
    const PLAIN: [&str; 2] = ["http/1.1", "other"];
    let kind = prop_oneof![
        3 => Just(Kind::Plain),
        6 => Just(Kind::Tls),
        1 => Just(Kind::ShutPlain),
        1 => Just(Kind::ShutTls),
    ];
    let names = prop_oneof![
        1 => Just(Vec::new()),
        1 => prop::sample::subsequence(NAMES.to_vec(), 1..3),
    ];
    let way = (kind, names, any::<bool>()).prop_flat_map(|(kind, names, listed)| {
        let of = match kind {
            Kind::Tls | Kind::ShutTls => TLS.to_vec(),
            Kind::Plain | Kind::ShutPlain => PLAIN.to_vec(),
        };
        let most = if listed { 3.min(of.len()) } else { 0 };
        prop::sample::subsequence(of, 0..=most).prop_map(move |alpn| Way {
            kind,
            names: names.clone(),
            alpn,
        })
    });
    const ASKED: [&str; 6] = ["a.b.c", "A.B.c", "y.b.c", "z.a.b.c", "c", "q"];
    let hello = (
        prop::sample::subsequence(TLS.to_vec(), 0..4).prop_shuffle(),
        prop::option::weighted(0.7, prop::sample::select(ASKED.to_vec())),
    );
    let hello = hello.prop_map(|(alpn, sni)| Hello { alpn, sni });
    (
        prop::collection::vec(way, 0..6),
        prop::collection::vec(hello, 1..8),
    )
}

#[test]
fn the_way_is_the_one_that_envoy_would_take() {
    const SLIPS: [Slip; 4] = [
        Slip::ComesBack,
        Slip::ServersOrder,
        Slip::AnyName,
        Slip::PassesShut,
    ];
    let found = Cell::new([0_u32; SLIPS.len()]);
    let seen = Cell::new([0_u32; 3]);
    property::holds(41, 3000, &inputs(), |(ways, hellos)| {
        let port = port(&ways);
        for hello in std::iter::once(None).chain(hellos.iter().map(Some)) {
            let chosen = chosen(&port, hello);
            prop_assert_eq!(&chosen, &reference(&ways, hello, Slip::None), "{:?}", hello);
            let mut counts = seen.get();
            counts[match &chosen {
                Ok(text) if text.starts_with("tls") => 0,
                Ok(_) => 1,
                Err(_) => 2,
            }] += 1;
            seen.set(counts);
            let mut slips = found.get();
            for (count, slip) in slips.iter_mut().zip(SLIPS) {
                *count += u32::from(chosen != reference(&ways, hello, slip));
            }
            found.set(slips);
        }
        Ok(())
    });
    eprintln!(
        "TLS, plaintext, closed: {:?}; {SLIPS:?}: {:?}",
        seen.get(),
        found.get()
    );
    assert!(seen.get().iter().all(|times| *times > 500), "hardly tested");
    // The controls: each way of going wrong is one that these inputs show.
    assert!(
        found.get().iter().all(|times| *times > 20),
        "a slip is not found"
    );
}

const ISTIO: [&str; 5] = [
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];

fn way(kind: Kind, alpn: &[&'static str]) -> Way {
    Way {
        kind,
        names: Vec::new(),
        alpn: alpn.to_vec(),
    }
}

#[test]
fn the_modes_of_peer_authentication() {
    let permissive = port(&[way(Kind::Tls, &ISTIO), way(Kind::Plain, &[])]);
    let strict = port(&[way(Kind::Tls, &[])]);
    let disabled = port(&[way(Kind::Plain, &[])]);
    let mesh = Hello {
        alpn: vec!["istio-http/1.1", "istio", "http/1.1"],
        sni: Some("outbound_.9080_._.reviews.default.svc.cluster.local"),
    };
    let foreign = Hello {
        alpn: vec!["h2", "http/1.1"],
        sni: None,
    };
    let tls = || Ok("tls 0".to_owned());
    let rows = [
        (&permissive, Some(&mesh), tls()),
        (&permissive, Some(&foreign), Err(Why::NoChain)),
        (&permissive, None, Ok("plain 1".to_owned())),
        (&strict, Some(&mesh), tls()),
        (&strict, Some(&foreign), tls()),
        (&strict, None, Err(Why::PlaintextRefused)),
        (&disabled, Some(&mesh), Err(Why::TlsRefused)),
        (&disabled, None, Ok("plain 0".to_owned())),
    ];
    for (port, hello, expected) in rows {
        assert_eq!(chosen(port, hello), expected, "{hello:?}");
    }
}

#[test]
fn a_port_that_is_not_mentioned_has_the_ways_of_the_others() {
    let ports = [(80, port(&[way(Kind::Tls, &[])]))].into();
    let rules = Rules::new("1".into(), ports, port(&[way(Kind::Plain, &[])]));
    let plain = |at| shown(rules.port(at).choose(&Opening::Plaintext));
    assert_eq!(plain(80), Err(Why::PlaintextRefused));
    assert_eq!(plain(81), Ok("plain 0".to_owned()));
}
