//! The targets of one port -> the table that their requests use.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::route::{Domain, DomainTable, VirtualHost};
use mesh_core::snapshot::{Missing, Unserved};

use super::{Listener, Listeners, Stated};
use crate::decode::listener::Routes;
use crate::decode::route::{self, RouteResource, Timing};
use crate::listener_name::ListenerName;

/// The table of one port.
#[derive(Debug)]
pub(in crate::assemble) struct Composed {
    pub(in crate::assemble) port: u16,
    /// Each host with what an unchanged one is known again by.
    pub(in crate::assemble) hosts: Vec<(Arc<VirtualHost>, Vec<u8>)>,
    pub(in crate::assemble) unserved: BTreeMap<Arc<str>, Unserved>,
}

impl Listeners {
    pub(super) fn compose(&self, port: u16) -> Composed {
        let mut composed = Composed {
            port,
            hosts: Vec::new(),
            unserved: BTreeMap::new(),
        };
        let all = self.wanted.values();
        for listener in all.filter(|it| it.name.port() == port) {
            match self.host(listener) {
                Ok(host) => composed.hosts.push(host),
                Err(why) => drop(composed.unserved.insert(listener.name.host().into(), why)),
            }
        }
        composed
    }

    fn host(&self, listener: &Listener) -> Result<(Arc<VirtualHost>, Vec<u8>), Unserved> {
        let name = listener.name.name();
        let resource = match &listener.state {
            Stated::Waiting => return Err(awaited("listener", name, "LDS")),
            Stated::Missing(reason) => return Err(Unserved::Missing(reason.clone())),
            Stated::Known(resource) => resource,
        };
        let (routes, called) = match &resource.routes {
            Routes::Inline(routes) => (Cow::Borrowed(&**routes), name),
            Routes::Named(called) => match self.routes.get(called) {
                None | Some(Stated::Waiting) => {
                    return Err(awaited("route configuration", called, "RDS"));
                }
                Some(Stated::Missing(reason)) => return Err(Unserved::Missing(reason.clone())),
                Some(Stated::Known(known)) => {
                    let routes = with_limit(&known.resource, &known.wire, resource.max_stream);
                    (routes, called)
                }
            },
        };
        let Some((host, wire)) = best(&routes, &listener.name) else {
            let reason = format!(
                "route configuration {called:?}, which listener {name:?} leads to, has no virtual host for it"
            );
            return Err(Unserved::Missing(Missing::NoSuch(reason.into())));
        };
        let domain = Domain::Exact(listener.name.host().into());
        let mut known_by = wire.clone();
        known_by.extend(format!("{:?}", resource.max_stream).into_bytes());
        let served = host.serving(Arc::clone(name), domain);
        Ok((Arc::new(served), known_by))
    }
}

fn awaited(what: &str, name: &Arc<str>, service: &str) -> Unserved {
    Unserved::Waiting(format!("{what} {name:?} ({service})").into())
}

/// Another listener may give the same routes another limit, so they were decoded without any.
fn with_limit<'a>(
    routes: &'a RouteResource,
    wire: &[u8],
    max_stream: Option<Duration>,
) -> Cow<'a, RouteResource> {
    if max_stream.is_none() {
        return Cow::Borrowed(routes);
    }
    match route::decode(wire, Timing::Grpc { max_stream }) {
        Ok(limited) => Cow::Owned(limited),
        // What was decoded once is decoded again.
        Err(_) => Cow::Borrowed(routes),
    }
}

/// The virtual host for a target. gRPC compares domains with the whole `host:port` of its target (A27), which istiod's
/// domains hold; of a control plane whose domains have no ports, the host alone is compared then.
fn best<'a>(
    routes: &'a RouteResource,
    target: &ListenerName,
) -> Option<&'a (Arc<VirtualHost>, Vec<u8>)> {
    let mut domains = DomainTable::new();
    for host in &routes.hosts {
        for domain in host.0.domains() {
            domains.insert(domain, host);
        }
    }
    let whole = domains.find(target.name()).filter(|_| !routes.ignore_port);
    whole.or_else(|| domains.find(target.host())).copied()
}
