//! The start itself: of what was asked for, a mesh.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mesh_core::request::PathNormalization;
use mesh_core::server::Inbound as Entry;
use mesh_xds::ads::{Control, Status};
use mesh_xds::csds::Csds;
use mesh_xds::dns::Lookups;
use mesh_xds::{Dialect, Node, Wanted};
use tokio::sync::{mpsc, watch};

use super::source::Rules;
use super::{Builder, StartError, seed_from_time};
use crate::admin::Admin;
use crate::control;
use crate::live::Live;
use crate::mesh::{Mesh, Shared};
use crate::outside::Outside;
use crate::random::Randomness;
use crate::security::{Permits, Security};
use crate::server::Door;
use crate::telemetry::{Cells, Edges, Errors};
#[cfg(feature = "tls")]
use crate::tls;

impl Builder {
    /// Starts the mesh. It takes its rules on a thread of its own; this returns at once.
    ///
    /// # Errors
    /// When the address or the folder cannot be used, when what was asked for is not in the dialect, or the thread
    /// cannot be started.
    pub fn build(self) -> Result<Mesh, StartError> {
        let node = self.identity()?;
        let dialect = node.dialect();
        let seed = self.seed.unwrap_or_else(seed_from_time);
        let (errors, edges) = (Arc::default(), Arc::new(Edges::new(node.workload())));
        let (control, wanted, status, csds) = self.control();
        let is_direct = matches!(self.rules, Rules::Direct);
        #[cfg(feature = "tls")]
        let store = Arc::new(tls::Store::of(&self.outside.tls));
        let source = self.source(
            #[cfg(feature = "tls")]
            &store,
        )?;
        let entry = self.entry(source.is_some())?;
        // Before the thread: a mesh that does not start leaves none behind.
        let admin = self.admin.map(bind_admin).transpose()?;
        #[cfg(feature = "tls")]
        if let Some(provider) = &self.certificates {
            store.feed(provider.get()).map_err(StartError::Thread)?;
        }
        let (door, live) = published(
            entry,
            (self.security, &node),
            (&errors, &edges),
            #[cfg(feature = "tls")]
            &store,
        );
        let observer = self.observe.start(&node, seed);
        let observer = observer.map_err(StartError::Thread)?;
        if let Some(source) = source {
            let spawned = control::spawn(source, node, control, Arc::clone(&live), seed);
            spawned.map_err(StartError::Thread)?;
        }
        let shared = Shared {
            live,
            random: Randomness::new(seed),
            cells: Arc::new(Cells::with_errors(Arc::clone(&errors))),
            outside: Outside::new(self.outside, self.security, &errors, &edges),
            errors,
            faults: Arc::default(),
            mirrors: Arc::default(),
            edges,
            observer,
            drain: Default::default(),
            listens: AtomicBool::new(false),
            door,
            wanted,
            status,
            csds,
            declared: self.declared,
            dialect,
            grpc_servers: self.grpc_servers,
            channels: Default::default(),
            normalization: self.normalization,
            is_direct,
            security: self.security,
            #[cfg(feature = "tls")]
            store,
            admin,
        };
        begun(shared)
    }

    /// What the control thread holds, and the other ends of it.
    fn control(
        &self,
    ) -> (
        Control,
        mpsc::UnboundedSender<Wanted>,
        watch::Receiver<Status>,
        Csds,
    ) {
        let (wants, wanted) = mpsc::unbounded_channel();
        let (tell, status) = watch::channel(Status::default());
        let (questioner, csds) = mesh_xds::csds::channel();
        let control = Control {
            wanted,
            status: tell,
            lookups: Lookups::new(self.outside.resolver.clone()),
            csds,
        };
        (control, wants, status, questioner)
    }

    /// By what rules connections come in at first.
    fn entry(&self, has_source: bool) -> Result<Entry, StartError> {
        #[cfg(feature = "tls")]
        if let Some(serving) = &self.serving {
            return match has_source {
                true => Err(StartError::Serving),
                false => Ok(serving.inbound()),
            };
        }
        let is_direct = matches!(self.rules, Rules::Direct);
        Ok(inbound(has_source, is_direct))
    }

    /// Who the mesh says that it is, in the dialect that it will speak.
    fn identity(&self) -> Result<Node, StartError> {
        let node = self.node.clone();
        let node = node.unwrap_or_else(|| Node::sidecar("mesh-tower", "default"));
        let node = match self.dialect {
            Some(dialect) => node.with_dialect(dialect),
            None => node,
        };
        if node.dialect() == Dialect::Grpc {
            self.check_grpc()?;
        }
        Ok(node)
    }

    /// Refuses what gRPC's dialect has no word for.
    fn check_grpc(&self) -> Result<(), StartError> {
        if let Some(table) = self.declared.first() {
            return Err(StartError::Dialect(format!(
                "declare({table}): in gRPC's dialect routes are asked for by host and port; make the channels at the start instead"
            )));
        }
        match &self.rules {
            #[cfg(feature = "yaml")]
            Rules::Yaml(folder) => Err(StartError::Dialect(format!(
                "the folder {folder:?} is read in the dialect of sidecars; leave Dialect::Grpc out"
            ))),
            _ => Ok(()),
        }
    }
}

/// By what rules connections come in until a source of rules has said something.
fn inbound(has_source: bool, is_direct: bool) -> Entry {
    let nobody = match (is_direct, has_source) {
        (true, _) => "mesh without rules (`Builder::direct`, MESH=off)",
        (false, false) => "mesh without a source of rules",
        (false, true) => return Entry::Waiting,
    };
    Entry::Open(nobody.into())
}

/// What is published of the configuration: the way in, and the way out.
fn published(
    inbound: Entry,
    (security, node): (Security, &Node),
    (errors, edges): (&Arc<Errors>, &Arc<Edges>),
    #[cfg(feature = "tls")] store: &Arc<tls::Store>,
) -> (Arc<Door>, Arc<Live>) {
    let door = Arc::new(Door::new(
        inbound,
        security,
        node,
        #[cfg(feature = "tls")]
        Arc::clone(store),
    ));
    let permits = Permits::new(
        security,
        #[cfg(feature = "tls")]
        Arc::clone(store),
    );
    let live = Live::new(
        Arc::clone(errors),
        Arc::clone(edges),
        Arc::clone(&door),
        permits,
    );
    (door, Arc::new(live))
}

/// A mesh that asks for what was declared.
fn begun(mut shared: Shared) -> Result<Mesh, StartError> {
    if shared.is_direct {
        // Paths are looked at by rules alone.
        shared.normalization = PathNormalization::None;
    }
    for table in &shared.declared {
        shared.want(table.clone());
    }
    let shared = Arc::new(shared);
    shared.door.belongs_to(&shared);
    if let Some(admin) = &shared.admin {
        admin.start(&shared).map_err(StartError::Thread)?;
    }
    Ok(Mesh { shared })
}

fn bind_admin(address: String) -> Result<Admin, StartError> {
    Admin::bind(&address).map_err(|cause| StartError::Admin { address, cause })
}
