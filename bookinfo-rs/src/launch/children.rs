//! What each child is started with: its arguments and its variables.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use super::certificates::Certificates;
use super::child::{Child, ChildError};
use super::folder::Folder;
use super::topology::Workload;
use super::{Options, bootstrap};
use crate::service::demo;
use crate::service::reviews::asking;

/// What services log unless `RUST_LOG` says otherwise. That the control plane is gone, the ingress tells alone: nine
/// processes would say the same.
const SERVICE_LOG: &str = "warn,mesh_xds::ads::task=error";

/// The same in a tour: it injects the faults that services would tell of, and judges what comes of them.
const TOUR_LOG: &str = "warn,mesh_xds::ads::task=error,bookinfo_rs::service=error";

/// What gateways log beside the ingress: they are there before a rule has anything for them to serve.
const GATEWAY_LOG: &str = "warn,mesh_xds::ads::task=error,mesh_tower::server=off";

/// The gateway that is always there.
pub(crate) const INGRESS: &str = "ingress";

/// Removes what is ours when the launcher has ended, however it ended.
pub(crate) fn janitor(
    program: &Path,
    folder: &Folder,
    certificates: Option<&Certificates>,
) -> Result<Child, ChildError> {
    let mut arguments: Vec<OsString> = vec!["janitor".into()];
    arguments.extend(folder.ours().into_iter().map(OsString::from));
    arguments.extend(certificates.map(|all| all.path().into()));
    Child::start(program, "janitor".to_owned(), arguments, [])
}

pub(crate) fn control_plane(
    program: &Path,
    folder: &Path,
    listen: SocketAddr,
    certificates: bool,
) -> Result<Child, ChildError> {
    let mut arguments: Vec<OsString> = vec![
        "control-plane".into(),
        "--config".into(),
        folder.into(),
        format!("--listen={listen}").into(),
        "--stop-on-stdin-eof".into(),
    ];
    if certificates {
        arguments.push("--certificates".into());
    }
    Child::start(program, "control-plane".to_owned(), arguments, [])
}

pub(crate) fn service(
    program: &Path,
    workload: &Workload,
    control_plane: &str,
    certificates: Option<&Path>,
    options: &Options,
) -> Result<Child, ChildError> {
    let listen = SocketAddr::new(workload.ip, 0);
    let arguments = [
        "service".into(),
        workload.service.into(),
        format!("--version={}", workload.version).into(),
        format!("--listen={listen}").into(),
        "--stop-on-stdin-eof".into(),
    ];
    let mut variables = vec![
        (
            "GRPC_XDS_BOOTSTRAP_CONFIG",
            bootstrap::sidecar(workload, control_plane).to_string(),
        ),
        ("HOSTNAME", workload.name()),
        (demo::VARIABLE, "true".to_owned()),
        ("DO_NOT_ENCRYPT", "true".to_owned()),
    ];
    if options.grpc_ratings && (workload.service, workload.version) == ("reviews", "v3") {
        variables.push((asking::VARIABLE, "grpc".to_owned()));
    }
    if std::env::var_os("RUST_LOG").is_none() {
        let log = if options.tour { TOUR_LOG } else { SERVICE_LOG };
        variables.push(("RUST_LOG", log.to_owned()));
    }
    variables.extend(certificates.map(certificates_variable));
    Child::start(program, workload.name(), arguments, variables)
}

/// Where a mesh finds the certificate of its workload.
fn certificates_variable(folder: &Path) -> (&'static str, String) {
    ("MESH_CERTIFICATES", folder.display().to_string())
}

/// A gateway: which port it listens on, and which one of a `Gateway` that is.
pub(crate) fn gateway(
    program: &Path,
    name: &str,
    [port, gateway_port]: [u16; 2],
    bootstrap: &serde_json::Value,
    certificates: Option<&Path>,
) -> Result<Child, ChildError> {
    let arguments = [
        "ingress".into(),
        format!("--port={port}").into(),
        format!("--gateway-port={gateway_port}").into(),
        "--stop-on-stdin-eof".into(),
    ];
    let mut variables = vec![("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string())];
    if name != INGRESS && std::env::var_os("RUST_LOG").is_none() {
        variables.push(("RUST_LOG", GATEWAY_LOG.to_owned()));
    }
    variables.extend(certificates.map(certificates_variable));
    Child::start(program, name.to_owned(), arguments, variables)
}
