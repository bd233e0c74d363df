//! A machine's cache -> `envoy.service.status.v3.ClientConfig`.

use std::time::{SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::admin::v3::{ClientResourceStatus as Status, UpdateFailureState};
use envoy_types::pb::envoy::service::status::v3::ClientConfig;
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::google::protobuf::{Any, Timestamp};

use crate::ads::{Failure, Record, Trouble};
use crate::assemble::{Entry, Held};
use crate::node::Node;

/// All entries, each with what is remembered of it. `source` is the control plane in use, or the folder.
pub(crate) fn client_config<'a>(
    node: &Node,
    source: &str,
    entries: impl IntoIterator<Item = (Entry<'a>, Option<&'a Record>)>,
    with_contents: bool,
) -> ClientConfig {
    let resources = entries.into_iter();
    let resources = resources.map(|(entry, record)| resource(&entry, record, with_contents));
    ClientConfig {
        node: Some(node.to_proto()),
        generic_xds_configs: resources.collect(),
        client_scope: source.to_owned(),
        ..ClientConfig::default()
    }
}

fn resource(entry: &Entry<'_>, record: Option<&Record>, with_contents: bool) -> GenericXdsConfig {
    let mut error_state = failure_of(&entry.held, record);
    let any = entry.wire.filter(|_| with_contents).map(|wire| Any {
        type_url: entry.resource_type.type_url().to_owned(),
        value: wire.to_vec(),
    });
    let mut config = GenericXdsConfig {
        type_url: entry.resource_type.type_url().to_owned(),
        name: entry.name.to_string(),
        client_status: status(&entry.held, record).into(),
        ..GenericXdsConfig::default()
    };
    match &entry.held {
        // Of a resource whose update failed too: what is told is what is in force.
        Held::Usable => {
            config.xds_config = any;
            if let Some((version, at)) = record.and_then(|record| record.accepted.as_ref()) {
                config.version_info = version.to_string();
                config.last_updated = Some(timestamp(*at));
            }
        }
        Held::Faulty(_) => {
            if let Some(failure) = &mut error_state {
                failure.failed_configuration = any;
            }
        }
        Held::Waiting | Held::Absent | Held::Refused(_) => {}
    }
    config.error_state = error_state;
    config
}

fn status(held: &Held<'_>, record: Option<&Record>) -> Status {
    match (record.and_then(|record| record.trouble.as_ref()), held) {
        (Some(Trouble::Error(_)), _) => Status::ReceivedError,
        (Some(Trouble::Refused(_)), _) | (_, Held::Refused(_) | Held::Faulty(_)) => Status::Nacked,
        (_, Held::Usable) => Status::Acked,
        (_, Held::Waiting) => Status::Requested,
        (Some(Trouble::TimedOut), Held::Absent) => Status::Timeout,
        (None, Held::Absent) => Status::DoesNotExist,
    }
}

fn failure_of(held: &Held<'_>, record: Option<&Record>) -> Option<UpdateFailureState> {
    match (record.and_then(|record| record.trouble.as_ref()), held) {
        (Some(Trouble::Refused(failure) | Trouble::Error(failure)), _) => {
            Some(update_failure(failure))
        }
        (_, Held::Faulty(fault)) => Some(UpdateFailureState {
            details: fault.to_string(),
            version_info: fault.version.to_string(),
            // It was found out later than that, but that is when it came.
            last_update_attempt: record
                .and_then(|record| record.accepted.as_ref())
                .map(|(_, at)| timestamp(*at)),
            ..UpdateFailureState::default()
        }),
        (_, Held::Refused(fault)) => Some(UpdateFailureState {
            details: (*fault).to_owned(),
            ..UpdateFailureState::default()
        }),
        _ => None,
    }
}

fn update_failure(failure: &Failure) -> UpdateFailureState {
    UpdateFailureState {
        details: failure.details.clone(),
        version_info: failure.version.to_string(),
        last_update_attempt: Some(timestamp(failure.at)),
        ..UpdateFailureState::default()
    }
}

/// A clock before 1970 tells 1970.
fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // Below 10⁹, which fits.
        nanos: since.subsec_nanos() as i32,
    }
}
