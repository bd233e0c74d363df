//! `delegate` of `HTTPRoute`: routes of one `VirtualService` that stand in another. What a proxy is sent speaks of
//! the delegating object alone.

use std::collections::HashMap;

use crate::diagnostic::Diagnostic;
use crate::kinds::ExportTo;
use crate::kinds::http_route::{self, Delegation, HttpRoute, Rule};
use crate::kinds::virtual_service::{Merged, VirtualService};

use super::Named;

/// A delegate: who may name it, and its routes.
struct Delegate {
    export_to: ExportTo,
    routes: Vec<HttpRoute>,
}

/// Objects without hosts, by namespace and name.
type Delegates = HashMap<(String, String), Delegate>;

/// The objects with hosts, with the routes of the others in their places. A delegating route without any is left
/// out, with a note, and the next route that matches is taken.
pub(super) fn merge(
    all: Vec<Named<VirtualService>>,
    notes: &mut Vec<Diagnostic>,
) -> Vec<Named<Merged>> {
    let mut delegates = Delegates::new();
    let mut roots = Vec::new();
    for mut object in all {
        object.spec.resolve(&object.namespace);
        if !object.spec.hosts.is_empty() {
            roots.push(object);
            continue;
        }
        let routes = object.spec.http.into_iter().filter_map(|rule| match rule {
            Rule::Own(route) => Some(*route),
            // Refused where it is read.
            Rule::Delegated(_) => None,
        });
        let delegate = Delegate {
            routes: routes.collect(),
            export_to: object.spec.export_to,
        };
        delegates.insert((object.namespace, object.name), delegate);
    }
    roots
        .into_iter()
        .map(|root| in_place(root, &delegates, notes))
        .collect()
}

fn in_place(
    root: Named<VirtualService>,
    delegates: &Delegates,
    notes: &mut Vec<Diagnostic>,
) -> Named<Merged> {
    let Named {
        name,
        namespace,
        spec,
    } = root;
    let mut http = Vec::new();
    for rule in spec.http {
        match rule {
            Rule::Own(route) => http.push(*route),
            Rule::Delegated(to) => http.extend(routes(&to, &namespace, delegates, notes)),
        }
    }
    let spec = VirtualService {
        http,
        hosts: spec.hosts,
        gateways: spec.gateways,
        export_to: spec.export_to,
        semantics: spec.semantics,
    };
    Named {
        name,
        namespace,
        spec,
    }
}

fn routes(
    to: &Delegation,
    root: &str,
    delegates: &Delegates,
    notes: &mut Vec<Diagnostic>,
) -> Vec<HttpRoute> {
    let namespace = to.namespace.as_deref().unwrap_or(root);
    let id = format!("VirtualService {namespace}/{}", to.name);
    let mut note = |message: String| {
        let place = to.note.clone();
        notes.push(Diagnostic { message, ..place });
    };
    let Some(delegate) = delegates.get(&(namespace.to_owned(), to.name.clone())) else {
        note(format!(
            "there is no delegate {id} (one without hosts): the route is left out"
        ));
        return Vec::new();
    };
    if !delegate.export_to.visible(namespace, root) {
        note(format!(
            "the delegate {id} is not exported to {root}: the route is left out"
        ));
        return Vec::new();
    }
    let (routes, lost) = http_route::merge(to, &delegate.routes);
    for name in lost {
        note(format!(
            "the route {name:?} of the delegate {id} is left out: its matches are not within those of this route"
        ));
    }
    routes
}
