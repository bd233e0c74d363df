//! Whether the configuration injects a fault into a request.

use std::sync::Arc;

use mesh_core::RequestView;
use mesh_core::route::{Choice, Forward, Route};

use super::asked::Asked;
use super::decide::Extra;
use crate::client::fault::Abort;
use crate::client::seam::Goal;
use crate::mesh::Shared;
use crate::random::SplitMix;

/// The fault of one request that goes `by` a choice of its route, or by none, if it has one and is let have it; and the
/// answer that it gets in place of what the route says. Of https a sidecar sees nothing that it could answer.
pub(super) fn inject(
    shared: &Shared,
    asked: &Asked,
    route: &Arc<Route>,
    by: Option<(&Forward, &Choice)>,
    cluster: Option<&Arc<str>>,
    request: &RequestView<'_>,
    rng: &mut SplitMix,
) -> (Option<Box<Extra>>, Option<Goal>) {
    let own = by.and_then(|(_, choice)| choice.fault.as_ref());
    let Some(rule) = own.or(route.fault.as_ref()).filter(|_| !asked.secure) else {
        return (None, None);
    };
    let injected = rule.draw(request, cluster.map(|name| &**name), rng);
    if injected.is_none() {
        return (None, None);
    }
    let Some(fault) = shared.faults.admit(&injected, rule.max_active) else {
        return (None, None);
    };
    let extra = Box::new(Extra {
        fault: Some(fault),
        ..Extra::default()
    });
    let goal = injected.abort.map(|(status, body)| {
        Goal::Abort(Arc::new(Abort {
            route: Arc::clone(route),
            choice: by.and_then(position),
            cluster: cluster.cloned(),
            status,
            body,
        }))
    });
    (Some(extra), goal)
}

fn position((forward, choice): (&Forward, &Choice)) -> Option<usize> {
    let mut choices = forward.split.weights();
    choices.position(|(one, _)| std::ptr::eq(one, choice))
}
