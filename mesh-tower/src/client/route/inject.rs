//! Whether the configuration injects a fault into a request.

use std::sync::Arc;

use bytes::Bytes;
use mesh_core::RequestView;
use mesh_core::route::{AbortStatus, Choice, Fault as Rule, Forward, Route};

use super::asked::Asked;
use crate::client::fault::{Abort, Fault};
use crate::client::seam::Goal;
use crate::mesh::Shared;
use crate::random::SplitMix;

/// What a request is answered with.
pub(super) struct Aborted(AbortStatus, Bytes);

/// The fault of one request, if it has one and is let have it. Of https a sidecar sees nothing that it could answer.
pub(super) fn inject(
    shared: &Shared,
    asked: Asked,
    rule: &Rule,
    cluster: Option<&Arc<str>>,
    request: &RequestView<'_>,
    rng: &mut SplitMix,
) -> Option<(Box<Fault>, Option<Aborted>)> {
    if asked.secure {
        return None;
    }
    let injected = rule.draw(request, cluster.map(|name| &**name), rng);
    if injected.is_none() {
        return None;
    }
    let fault = shared.faults.admit(&injected, rule.max_active)?;
    let abort = injected.abort.map(|(status, body)| Aborted(status, body));
    Some((Box::new(fault), abort))
}

impl Aborted {
    pub(super) fn goal(
        self,
        route: &Arc<Route>,
        by: Option<(&Forward, &Choice)>,
        cluster: Option<&Arc<str>>,
    ) -> Goal {
        let choice = by.and_then(|(forward, choice)| {
            let mut choices = forward.split.weights();
            choices.position(|(one, _)| std::ptr::eq(one, choice))
        });
        let Self(status, body) = self;
        Goal::Abort(Arc::new(Abort {
            route: Arc::clone(route),
            choice,
            cluster: cluster.cloned(),
            status,
            body,
        }))
    }
}
