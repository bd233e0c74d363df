//! The body of the fuzz target of the choice among ways in: hellos that are written, and what becomes of them.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use mesh_core::request::PathNormalization;
use mesh_core::server::{Chain, Chosen, Demand, First, Opening, Pipeline, Port, Remote, Xfcc};
use mesh_core::tls::{Alpn, CertName, ClientAuth, ServerTerms, ServerTls, TlsVersion};

use crate::hello::Offered;
use crate::reads::{Verdict, cut, judged};
use crate::wire::{Said, records, server};

/// How long the parts are into which a hello is cut.
const SIZES: [usize; 8] = [1, 2, 3, 5, 16, 64, 256, 0x4000];
/// How many of the protocols are kept.
const KEPT: usize = 16;

/// A client's way is the one for what it says, and one whose name is none is closed. The input is a byte that chooses how
/// the hello is written, one that chooses the reads, then a line with the name of the server, and others with protocols.
pub fn chain(input: &[u8]) -> Result<(), String> {
    chain_by(input, |offered| offered)
}

/// The control: the client's protocols are looked at from the last one on.
pub fn chain_broken(input: &[u8]) -> Result<(), String> {
    chain_by(input, |mut offered| {
        offered.alpn.reverse();
        offered
    })
}

fn chain_by(input: &[u8], taken: fn(Offered) -> Offered) -> Result<(), String> {
    let [form, how, lines @ ..] = input else {
        return Ok(());
    };
    let mut lines = lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    let said = Said {
        sni: lines.next().filter(|name| !name.is_empty()),
        alpn: lines
            .filter(|name| (1..256).contains(&name.len()))
            .collect(),
    };
    let message = said.message(form & 8 != 0, form & 16 != 0);
    let bytes = records(&message, SIZES[usize::from(form & 7)]);
    let offered = match (
        judged(First::of, cut(&bytes, *how), false),
        understood(&said),
    ) {
        (Verdict::NoHello(_), None) => return Ok(()),
        (Verdict::Tls(offered), Some(expected)) if offered == expected => taken(offered),
        (verdict, expected) => return Err(format!("{verdict:?}, expected {expected:?}")),
    };
    let opening = Opening::Tls {
        alpn: &offered.alpn,
        sni: offered.sni.as_deref(),
    };
    let got = match PORT.choose(&opening) {
        Chosen::Tls(_, pipeline) => Some(&*pipeline.name),
        Chosen::Plaintext(_) => return Err("TLS is served as plaintext".to_owned()),
        Chosen::Close(_) => None,
    };
    let expected = way(&said);
    match got == expected {
        true => Ok(()),
        false => Err(format!("{got:?} of {offered:?}, expected {expected:?}")),
    }
}

/// None where the name is neither one of DNS nor an address, which nobody is meant by.
fn understood(said: &Said) -> Option<Offered> {
    let sni = match said.sni.as_deref().map(str::from_utf8) {
        None => None,
        Some(Ok(name)) if is_name(name) => Some(server(name).into()),
        Some(Ok(name)) if name.parse::<IpAddr>().is_ok() => None,
        Some(_) => return None,
    };
    let alpn = said.alpn.iter().take(KEPT);
    Some(Offered {
        sni,
        alpn: alpn.map(|name| name.as_slice().into()).collect(),
    })
}

/// Label by label; one dot may end it, and the last label is no number.
fn is_name(name: &str) -> bool {
    let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &&str| {
        (1..64).contains(&label.len())
            && label.bytes().all(sign)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let hex = |label: &str| {
        label
            .to_ascii_lowercase()
            .strip_prefix("0x")
            .map(str::to_owned)
    };
    let is_number = |label: &str| match hex(label) {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    };
    name.len() <= 253
        && labels.iter().all(is_label)
        && !labels.last().is_none_or(|last| is_number(last))
}

struct Way {
    name: &'static str,
    servers: &'static [&'static str],
    protocols: &'static [&'static str],
    is_tls: bool,
}

const fn secured(
    name: &'static str,
    servers: &'static [&'static str],
    protocols: &'static [&'static str],
) -> Way {
    Way {
        name,
        servers,
        protocols,
        is_tls: true,
    }
}

const WAYS: &[Way] = &[
    secured("a", &["a.example"], &["h2"]),
    secured("a too", &["a.example"], &["http/1.1", "h2"]),
    secured("b", &["*.b.example", "b.example"], &[]),
    secured("all of example", &["*.example"], &["istio"]),
    secured("all of example, of any", &["*.example"], &[]),
    Way {
        name: "a word in the clear",
        servers: &["plain.example"],
        protocols: &[],
        is_tls: false,
    },
    secured("the mesh", &[], &["istio", "istio-h2", "istio-http/1.1"]),
    Way {
        name: "plaintext",
        servers: &[],
        protocols: &[],
        is_tls: false,
    },
];

static PORT: LazyLock<Port> = LazyLock::new(|| {
    let terms = ServerTerms {
        who: "here".into(),
        identity: CertName::Workload,
        client: ClientAuth::None,
        alpn: Alpn::accepted(),
        min: TlsVersion::V1_2,
        max: TlsVersion::V1_3,
    };
    let terms = Arc::new(ServerTls::from(terms));
    let chains = WAYS.iter().map(|way| Chain {
        name: way.name.into(),
        demand: Demand {
            server_names: way.servers.iter().map(|name| (*name).into()).collect(),
            alpn: way
                .protocols
                .iter()
                .map(|name| name.as_bytes().into())
                .collect(),
        },
        tls: way.is_tls.then(|| Arc::clone(&terms)),
        pipeline: Arc::new(Pipeline {
            name: way.name.into(),
            paths: PathNormalization::Base,
            xfcc: Xfcc::Sanitize,
            remote: Remote::default(),
            gateway: None,
            steps: Box::default(),
        }),
    });
    Port::new(chains.collect::<Vec<_>>())
});

/// As Envoy looks it up: the name as it is, then each wildcard above it, then those without names; nobody comes back.
fn way(said: &Said) -> Option<&'static str> {
    let sni = String::from_utf8_lossy(said.sni.as_deref().unwrap_or_default());
    let sni = server(&sni);
    let is_address = sni.parse::<IpAddr>().is_ok();
    let mut keys = vec![sni.clone()];
    let dots = sni.match_indices('.').filter(|(at, _)| *at > 0);
    keys.extend(dots.map(|(at, _)| format!("*{}", &sni[at..])));
    let of = |key: &String| -> Vec<&Way> {
        let named = |way: &&Way| way.servers.contains(&key.as_str());
        WAYS.iter().filter(named).collect()
    };
    let named = keys.iter().map(of).filter(|_| !is_address);
    let nameless = WAYS.iter().filter(|way| way.servers.is_empty());
    let found = named
        .chain([nameless.collect()])
        .find(|ways| !ways.is_empty())?;
    let tls: Vec<&Way> = found.into_iter().filter(|way| way.is_tls).collect();
    let offers = said.alpn.iter().take(KEPT);
    for offered in offers {
        let is_asked = |way: &&&Way| way.protocols.iter().any(|it| it.as_bytes() == offered);
        if let Some(way) = tls.iter().find(is_asked) {
            return Some(way.name);
        }
    }
    tls.iter()
        .find(|way| way.protocols.is_empty())
        .map(|way| way.name)
}
