//! What the configuration says of a request that is not sent.

use std::sync::Arc;

use http::Request;
use http::request::Parts;
use mesh_core::explain::{Candidates, Explanation, Refusal, Way, routes};

use super::Scope;
use super::asked::{Asked, Carrier};
use super::decide::{Decision, Found, look_up, until_decided};
use crate::client::head::Head;
use crate::error::Error;
use crate::live::LiveSnapshot;
use crate::mesh::Shared;

/// Explains what the mesh's client would do, once the configuration says something of it.
pub(crate) async fn explain(shared: &Shared, mut request: Request<()>) -> Explanation {
    let read = Asked::of(
        &mut request,
        Scope::Mesh,
        shared.normalization,
        Carrier::Own,
    );
    let (head, ()) = request.into_parts();
    let asked = match read {
        Ok((asked, _)) => asked,
        Err(error) => {
            let generation = shared.live.load().generation;
            return explanation(&head, generation, None, refused(&error));
        }
    };
    let here = Head::of_parts(&head);
    let decide = || {
        let snapshot = shared.live.load();
        way(shared, &snapshot, &asked, &head)
    };
    match until_decided(shared, here, None, decide).await {
        Ok(explanation) => explanation,
        Err(error) => explanation(&head, error.generation(), None, refused(&error)),
    }
}

/// By one snapshot: the search is the one of calls, and only what they then draw is told in full.
fn way(
    shared: &Shared,
    snapshot: &LiveSnapshot,
    asked: &Asked,
    head: &Parts,
) -> Decision<Explanation> {
    let table = snapshot.tables.get(&asked.table);
    let named = table.map(|table| (asked.table.to_string().into(), Arc::clone(&table.version)));
    let of_way = |way| explanation(head, snapshot.generation, named, way);
    let here = Head::of_parts(head);
    let way = match (look_up(shared, snapshot, asked, here, None), table) {
        (Found::Target(target), Some(table)) => {
            let candidates = Candidates::of(table, here.authority(), &target.host);
            Way::Routes(candidates, routes(target, head))
        }
        // A target is of a table.
        (Found::Target(_), None) => return Decision::waiting_for(asked.table.clone()),
        (Found::Decided(Decision::Wait(wanted, missing)), _) => {
            return Decision::Wait(wanted, missing);
        }
        (Found::Decided(Decision::Fail(error)), _) => refused(&error),
        (Found::Decided(Decision::To(_)), _) if shared.is_direct => {
            Way::Outside("the mesh is off".into())
        }
        (Found::Decided(Decision::To(_)), _) => {
            Way::Outside("no rule for HTTP applies to https, and the mesh lets it out".into())
        }
    };
    Decision::To(of_way(way))
}

fn refused(error: &Error) -> Way {
    Way::Refused(Refusal::new(
        error.status(),
        error.flags(),
        error.to_string(),
    ))
}

fn explanation(
    head: &Parts,
    generation: u64,
    table: Option<(Arc<str>, Arc<str>)>,
    way: Way,
) -> Explanation {
    Explanation {
        method: head.method.clone(),
        uri: head.uri.to_string(),
        generation,
        table,
        way,
    }
}
