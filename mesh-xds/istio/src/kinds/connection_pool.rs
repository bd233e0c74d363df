//! `connectionPool` of a `DestinationRule`: limits of connections and requests.

use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};

/// A checked `ConnectionPoolSettings`. A limit of 0 stands for none, as in istiod.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionPool {
    pub(crate) tcp: Tcp,
    pub(crate) http: Http,
}

/// `tcp`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tcp {
    pub(crate) max_connections: u32,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) max_connection_duration: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
}

/// `tcpKeepalive`; what is not said is the system's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Keepalive {
    /// 0 where it is not said.
    pub(crate) probes: u32,
    pub(crate) time: Option<Duration>,
    pub(crate) interval: Option<Duration>,
}

/// `http`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Http {
    pub(crate) max_pending: u32,
    pub(crate) max_requests: u32,
    pub(crate) max_requests_per_connection: u32,
    pub(crate) max_retries: u32,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) h2_upgrade: H2Upgrade,
    pub(crate) use_client_protocol: bool,
    pub(crate) max_concurrent_streams: u32,
}

/// `h2UpgradePolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum H2Upgrade {
    /// What the mesh says.
    #[default]
    Default,
    DoNotUpgrade,
    Upgrade,
}

const SPEC: Schema = Schema {
    served: &["tcp", "http"],
    unserved: &[],
};
const TCP: Schema = Schema {
    served: &[
        "maxConnections",
        "connectTimeout",
        "tcpKeepalive",
        "maxConnectionDuration",
        "idleTimeout",
    ],
    unserved: &[],
};
const KEEPALIVE: Schema = Schema {
    served: &["probes", "time", "interval"],
    unserved: &[],
};
const HTTP: Schema = Schema {
    served: &[
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "idleTimeout",
        "h2UpgradePolicy",
        "useClientProtocol",
        "maxConcurrentStreams",
    ],
    unserved: &["http2KeepAlive"],
};

pub(crate) fn decode(parent: &Fields<'_>, sink: &mut Sink) -> Option<ConnectionPool> {
    let fields = parent.sub("connectionPool", SPEC, sink)?;
    Some(ConnectionPool {
        tcp: tcp(&fields, sink).unwrap_or_default(),
        http: http(&fields, sink).unwrap_or_default(),
    })
}

fn limit(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> u32 {
    fields
        .integer(key, 0, i32::MAX.unsigned_abs(), sink)
        .unwrap_or_default()
}

fn tcp(parent: &Fields<'_>, sink: &mut Sink) -> Option<Tcp> {
    let fields = parent.sub("tcp", TCP, sink)?;
    Some(Tcp {
        max_connections: limit(&fields, "maxConnections", sink),
        connect_timeout: fields.milliseconds("connectTimeout", sink),
        keepalive: keepalive(&fields, sink),
        max_connection_duration: fields.milliseconds("maxConnectionDuration", sink),
        // 0 turns it off.
        idle_timeout: fields.duration("idleTimeout", sink),
    })
}

/// `tcpKeepalive` of a pool or of the mesh.
pub(crate) fn keepalive(parent: &Fields<'_>, sink: &mut Sink) -> Option<Keepalive> {
    let fields = parent.sub("tcpKeepalive", KEEPALIVE, sink)?;
    Some(Keepalive {
        probes: fields
            .integer("probes", 0, u32::MAX, sink)
            .unwrap_or_default(),
        time: fields.milliseconds("time", sink),
        interval: fields.milliseconds("interval", sink),
    })
}

fn http(parent: &Fields<'_>, sink: &mut Sink) -> Option<Http> {
    let fields = parent.sub("http", HTTP, sink)?;
    let h2_upgrade = h2_upgrade(&fields, &["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"], sink);
    let use_client_protocol = fields.bool("useClientProtocol", sink);
    if use_client_protocol && h2_upgrade == H2Upgrade::Upgrade {
        let path = &fields.path;
        let message =
            format!("{path} may have useClientProtocol or h2UpgradePolicy UPGRADE, not both");
        sink.error(fields.place("useClientProtocol"), message);
    }
    Some(Http {
        max_pending: limit(&fields, "http1MaxPendingRequests", sink),
        max_requests: limit(&fields, "http2MaxRequests", sink),
        max_requests_per_connection: limit(&fields, "maxRequestsPerConnection", sink),
        max_retries: limit(&fields, "maxRetries", sink),
        idle_timeout: fields.milliseconds("idleTimeout", sink),
        h2_upgrade,
        use_client_protocol,
        max_concurrent_streams: limit(&fields, "maxConcurrentStreams", sink),
    })
}

/// `h2UpgradePolicy` of a pool or of the mesh.
pub(crate) fn h2_upgrade(
    fields: &Fields<'_>,
    allowed: &[&'static str],
    sink: &mut Sink,
) -> H2Upgrade {
    match fields.word("h2UpgradePolicy", allowed, sink) {
        Some("UPGRADE") => H2Upgrade::Upgrade,
        Some("DO_NOT_UPGRADE") => H2Upgrade::DoNotUpgrade,
        _ => H2Upgrade::Default,
    }
}
