//! gRPC's dialect: hosts that have no target, because nobody has asked for their listener yet, because it is still to
//! come, or because it is not there.

use std::sync::Arc;

use mesh_core::snapshot::{Missing, Table, Unserved};
use mesh_xds::ListenerName;

use super::asked::Asked;
use super::decide::Decision;
use crate::client::head::Head;
use crate::error::{Error, Kind, Place};
use crate::live::LiveTarget;

/// What becomes of a call to such a host.
pub(super) fn unserved(
    table: Option<&Table<Arc<LiveTarget>>>,
    asked: &Asked,
    head: Head<'_>,
    place: &Place,
) -> Decision {
    let fail = |kind, reason: &str| Decision::Fail(Error::new(kind, place.clone(), reason));
    // This dialect has neither a gateway's routes nor a policy for what leaves the mesh. What nobody has allowed is
    // not let out.
    if asked.table.is_gateway() {
        return fail(
            Kind::NoRoute,
            "a gateway's routes are not in gRPC's dialect; use Dialect::Sidecar",
        );
    }
    if asked.secure {
        return fail(
            Kind::Unsupported,
            "gRPC's dialect has no rules for https; write http://, which the mesh secures itself, or use Dialect::Sidecar",
        );
    }
    let host = asked.host(head);
    let name = match ListenerName::new(host, asked.port) {
        Ok(name) => name,
        Err(error) => return fail(Kind::InvalidRequest, &error.to_string()),
    };
    match table.and_then(|table| table.unserved.get(name.host())) {
        None => Decision::waiting_for(name),
        Some(Unserved::Waiting(what)) => Decision::Wait(name.into(), what.to_string()),
        Some(Unserved::Missing(Missing::NoSuch(reason))) => fail(Kind::NoRoute, reason),
        Some(Unserved::Missing(Missing::NotReceived(reason))) => fail(Kind::NotReady, reason),
    }
}
