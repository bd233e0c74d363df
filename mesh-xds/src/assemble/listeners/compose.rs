//! The targets of one port -> the table that their requests use.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::route::{Domain, DomainTable, VirtualHost};
use mesh_core::snapshot::{Missing, Unserved};

use super::{Listener, Listeners, NamedRoutes, Stated};
use crate::decode::listener::Routes;
use crate::decode::route::{self, RouteResource, Timing};
use crate::listener_name::ListenerName;

/// A virtual host with what an unchanged one is known again by.
pub(in crate::assemble) type Served = (Arc<VirtualHost>, Vec<u8>);

/// The table of one port.
#[derive(Debug)]
pub(in crate::assemble) struct Composed {
    pub(in crate::assemble) port: u16,
    pub(in crate::assemble) hosts: Vec<Served>,
    pub(in crate::assemble) unserved: BTreeMap<Arc<str>, Unserved>,
}

impl Listeners {
    pub(super) fn compose(&mut self, port: u16) -> Composed {
        let mut composed = Composed {
            port,
            hosts: Vec::new(),
            unserved: BTreeMap::new(),
        };
        let Self { wanted, routes, .. } = self;
        for listener in wanted.values_mut().filter(|it| it.name.port() == port) {
            let served = match (listener.host(routes), listener.served.take()) {
                (Ok(host), _) => Ok(host),
                // Other routes are on their way; until then the former ones serve.
                (Err(Unserved::Waiting(_)), Some(former)) => Ok(former),
                (Err(why), _) => Err(why),
            };
            match served {
                Ok(host) => {
                    listener.served = Some(host.clone());
                    composed.hosts.push(host);
                }
                Err(why) => drop(composed.unserved.insert(listener.name.host().into(), why)),
            }
        }
        composed
    }
}

impl Listener {
    fn host(&self, all: &BTreeMap<Arc<str>, Stated<NamedRoutes>>) -> Result<Served, Unserved> {
        let name = self.name.name();
        let resource = match &self.state {
            Stated::Waiting => return Err(awaited("listener", name, "LDS")),
            Stated::Missing(reason) => return Err(Unserved::Missing(reason.clone())),
            Stated::Known(resource) => resource,
        };
        let (routes, called) = match &resource.routes {
            Routes::Inline(routes) => (Cow::Borrowed(&**routes), name),
            Routes::Named(called) => match all.get(called) {
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
        let Some((host, wire)) = best(&routes, &self.name) else {
            let reason = format!(
                "route configuration {called:?}, which listener {name:?} leads to, has no virtual host for it"
            );
            return Err(Unserved::Missing(Missing::NoSuch(reason.into())));
        };
        let domain = Domain::Exact(self.name.host().into());
        let mut known_by = wire.clone();
        known_by.extend(format!("{:?}", resource.max_stream).into_bytes());
        if let Some(same) = self.served.as_ref().filter(|same| same.1 == known_by) {
            return Ok(same.clone());
        }
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
