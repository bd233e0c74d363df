//! Calls to hosts that no virtual host is for: the mesh's outbound policy, and how they leave.
//!
//! istiod tells the policy by the virtual host at the end of every table: `allow_any` forwards to a cluster that
//! dials what the caller asked for, `block_all` answers 502. For `https` a sidecar sees opaque TLS: no rule for HTTP
//! applies, only whether the host may be called at all.

use std::sync::Arc;

use mesh_core::cluster::Discovery;
use mesh_core::istiod::BLACK_HOLE;
use mesh_core::route::Limits;
use mesh_core::snapshot::{Missing, Table, TableKey};

use super::asked::{Asked, Carrier};
use super::decide::{Chosen, Decision, routed};
use crate::client::head::Head;
use crate::client::seam::{Destination, Goal};
use crate::error::{Error, Kind, Place};
use crate::live::{LiveCluster, LiveSnapshot, LiveTarget};
use crate::mesh::Shared;
use crate::outside::Name;

/// The table in which a control plane tells its policy if it has none for the port that is asked for.
const DEFAULT: TableKey = TableKey::Port(80);

/// What a table says of hosts that it does not have.
pub(super) enum CatchAll<'a> {
    Target(&'a Arc<LiveTarget>),
    /// Nothing: the control plane knows no such policy, or the table is a gateway's.
    Nothing,
    /// It may be in this table, which has not arrived.
    Wait(TableKey),
    /// It may be in a table that was not sent or could not be used; the text says why. What is unknown may forbid
    /// the call, so it is not let out.
    Unknown(&'a str),
}

/// The policy of a table. A table that has hosts and no policy is taken at its word.
pub(super) fn catch_all<'a>(
    snapshot: &'a LiveSnapshot,
    key: &TableKey,
    table: &'a Table<Arc<LiveTarget>>,
) -> CatchAll<'a> {
    if key.is_gateway() {
        return CatchAll::Nothing;
    }
    if let Some(target) = table.catch_all() {
        return CatchAll::Target(target);
    }
    if table.targets().next().is_some() {
        return CatchAll::Nothing;
    }
    let Some(default) = snapshot.tables.get(&DEFAULT) else {
        return CatchAll::Wait(DEFAULT);
    };
    if let Some(target) = default.catch_all() {
        return CatchAll::Target(target);
    }
    match (&table.missing, &default.missing) {
        (Some(Missing::NotReceived(reason)), _) | (_, Some(Missing::NotReceived(reason))) => {
            CatchAll::Unknown(reason)
        }
        _ => CatchAll::Nothing,
    }
}

/// The error of a call of which nobody knows whether it may leave the mesh.
pub(super) fn unknown(reason: &str, place: Place) -> Error {
    let reason = format!("the policy for calls that leave the mesh is unknown: {reason}");
    Error::new(Kind::NotReady, place, reason)
}

/// A call of a mesh without rules goes where it asks to.
pub(super) fn direct(shared: &Shared, asked: &Asked, head: Head<'_>) -> Decision {
    match asked.table {
        TableKey::Port(_) => by_ourselves(shared, asked, head, Place::default()),
        TableKey::Gateway(_) | TableKey::Server(_) => {
            let reason =
                "a gateway has its routes from a control plane or a folder, and this mesh is off";
            Decision::Fail(Error::new(Kind::NoRoute, place(head, 0), reason))
        }
    }
}

/// What becomes of a call for `https`.
pub(super) fn secure(
    shared: &Shared,
    snapshot: &LiveSnapshot,
    table: &Table<Arc<LiveTarget>>,
    asked: &Asked,
    head: Head<'_>,
) -> Decision {
    let place = place(head, snapshot.generation);
    let target = match catch_all(snapshot, &asked.table, table) {
        CatchAll::Target(target) => target,
        CatchAll::Wait(key) => return Decision::waiting_for(key),
        CatchAll::Unknown(reason) => return Decision::Fail(unknown(reason, place)),
        // MeshConfig's default is ALLOW_ANY, and who has no such policy forbids nothing.
        CatchAll::Nothing => return by_ourselves(shared, asked, head, place),
    };
    if let Some(missing) = &target.waiting_for {
        return Decision::Wait(asked.table.clone().into(), missing.to_string());
    }
    let chosen = match routed(shared, target, asked, head, None, snapshot.generation) {
        Ok(chosen) => chosen,
        Err((kind, place, reason)) => {
            let error = Error::new(kind, place, reason);
            return Decision::Fail(error.toward(target.edge(&shared.edges)));
        }
    };
    match &chosen.destination.goal {
        Goal::Outside(..) | Goal::Beyond(..) => Decision::To(chosen),
        Goal::Answer(_) | Goal::Abort(_) if snapshot.registry.has(asked.host(head), asked.port) => {
            by_ourselves(shared, asked, head, place)
        }
        Goal::Answer(_) | Goal::Abort(_) => {
            let error = blocked(asked, head, place);
            Decision::Fail(error.toward(shared.edges.black_hole()))
        }
        Goal::Cluster(cluster) => {
            let reason = format!(
                "calls that leave the mesh go through cluster {:?}, and https through a proxy is not served",
                cluster.model.name
            );
            Decision::Fail(Error::new(Kind::Unsupported, place, reason))
        }
    }
}

fn blocked(asked: &Asked, head: Head<'_>, place: Place) -> Error {
    let place = Place {
        cluster: Some(BLACK_HOLE.into()),
        ..place
    };
    let (host, port) = (asked.host(head), asked.port);
    let reason = format!(
        "the mesh's outboundTrafficPolicy is REGISTRY_ONLY and its registry has no {host:?} with port {port}; add a ServiceEntry for it"
    );
    Error::new(Kind::Blocked, place, reason)
}

/// A call for which no configuration has a cluster.
fn by_ourselves(shared: &Shared, asked: &Asked, head: Head<'_>, place: Place) -> Decision {
    match goal(shared, shared.outside.own(), asked, head) {
        Ok(goal) => Decision::To(Chosen {
            destination: Destination { goal, place },
            limits: Limits::default(),
            change: None,
            extra: None,
            edge: None,
        }),
        Err((kind, reason)) => {
            let authority = Some(head.authority().into());
            let error = Error::new(kind, Place { authority, ..place }, reason);
            Decision::Fail(error.toward(&shared.outside.own().edge))
        }
    }
}

/// Where a call to a cluster goes: to its endpoints, or to the host that was asked for.
pub(super) fn goal(
    shared: &Shared,
    cluster: &Arc<LiveCluster>,
    asked: &Asked,
    head: Head<'_>,
) -> Result<Goal, (Kind, String)> {
    let Discovery::OriginalDestination { transport, .. } = &cluster.model.discovery else {
        return Ok(Goal::Cluster(Arc::clone(cluster)));
    };
    if let Some(reason) = transport.no_plaintext() {
        let reason = format!(
            "{reason}: the cluster leads to the host that was called (ORIGINAL_DST), and TLS there is the caller's, by https"
        );
        return Err((Kind::TlsDemanded, reason));
    }
    let permit = shared.security.crosses(asked.secure);
    let permit = permit.map_err(|reason| (Kind::TlsDemanded, reason.to_string()))?;
    let host = asked.host(head);
    if host.is_empty() || (host.contains(':') && !host.ends_with(']')) {
        let reason = format!("{:?} is no host and port", head.authority());
        return Err((Kind::InvalidRequest, reason));
    }
    if asked.carrier == Carrier::Foreign {
        return Ok(Goal::Beyond(Arc::clone(cluster), permit));
    }
    let name = Name {
        host,
        port: asked.port,
        secure: asked.secure,
    };
    let destination = shared.outside.destination(name, &cluster.model);
    let destination = destination.map_err(|full| (Kind::Full, full.to_string()))?;
    Ok(Goal::Outside(Arc::clone(cluster), destination))
}

fn place(head: Head<'_>, generation: u64) -> Place {
    Place {
        authority: Some(head.authority().into()),
        generation,
        ..Place::default()
    }
}
