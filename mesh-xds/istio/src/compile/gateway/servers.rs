//! Which servers share a port of a router, over all `Gateway`s that select it (istiod's merge): any number of plaintext,
//! told apart by the hosts of requests, or any number that end TLS, told apart by the names that clients ask for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::decode::{Labels, selects};
use crate::kinds::gateway::{Gateway, Server};
use crate::kinds::server_tls::ServerTls;
use crate::registry::{Named, Registry};

/// Where is listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    pub(super) port: u32,
    /// Empty for all addresses.
    pub(super) bind: &'a str,
}

/// A server with its gateway.
#[derive(Clone, Copy)]
pub(super) struct Owned<'a> {
    pub(super) gateway: &'a Named<Gateway>,
    pub(super) server: &'a Server,
}

/// One that ends TLS.
pub(super) struct Secured<'a> {
    pub(super) owned: Owned<'a>,
    pub(super) tls: &'a ServerTls,
}

/// What is served at one place.
pub(super) enum Servers<'a> {
    Plain(Vec<Owned<'a>>),
    Secured(Vec<Secured<'a>>),
}

/// The servers of a router by place. The first on a port says what it is; one of the other sort, and one that ends TLS for
/// a host that has a certificate already, is left out.
pub(super) fn merged<'a>(
    registry: &'a Registry,
    labels: &Labels,
) -> BTreeMap<Place<'a>, Servers<'a>> {
    let mut out = BTreeMap::new();
    let mut gateways = registry.gateways.iter();
    while let Some(gateway) = gateways.find(|g| selects(&g.spec.selector, labels)) {
        for server in &gateway.spec.servers {
            let place = Place {
                port: server.port,
                bind: &server.bind,
            };
            add(out.entry(place), Owned { gateway, server });
        }
    }
    out
}

fn add<'a>(at: Entry<'_, Place<'a>, Servers<'a>>, owned: Owned<'a>) {
    let Some(tls) = &owned.server.tls else {
        match at.or_insert_with(|| Servers::Plain(Vec::new())) {
            Servers::Plain(all) => all.push(owned),
            Servers::Secured(_) => {}
        }
        return;
    };
    match at.or_insert_with(|| Servers::Secured(Vec::new())) {
        Servers::Plain(_) => {}
        Servers::Secured(all) => {
            let has = |name: &str| {
                let mut known = all.iter();
                known.any(|known| names(known.owned.server).contains(&name))
            };
            if !names(owned.server).into_iter().any(has) {
                all.push(Secured { owned, tls });
            }
        }
    }
}

/// The names by which clients choose a server that ends TLS, sorted.
pub(super) fn names(server: &Server) -> Vec<&str> {
    let mut names: Vec<&str> = server.hosts.iter().map(|host| &*host.host).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The name of the table that all servers of plaintext of a place have.
pub(super) fn http_table(place: Place<'_>) -> String {
    let Place { port, bind } = place;
    match bind {
        "" => format!("http.{port}"),
        bind => format!("http.{port}.{bind}"),
    }
}

/// The name of the table of a server that ends TLS.
pub(super) fn https_table(Owned { gateway, server }: Owned<'_>) -> String {
    let Server {
        port,
        port_name,
        bind,
        ..
    } = server;
    let Named {
        name, namespace, ..
    } = gateway;
    match bind.as_str() {
        "" => format!("https.{port}.{port_name}.{name}.{namespace}"),
        bind => format!("https.{port}.{port_name}.{name}.{namespace}.{bind}"),
    }
}
