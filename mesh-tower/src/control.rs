//! The control thread: everything about configuration happens here, on one thread with a runtime of
//! its own; request workers only ever see a finished snapshot.

#[cfg(feature = "yaml")]
mod folder;

use std::io;
use std::sync::Arc;

use mesh_xds::Node;
use mesh_xds::ads::{self, Control, Machine, Server, Variant};

use crate::live::Live;
use crate::random::{Randomness, SplitMix};

/// Sets the numbers of the control thread apart from those of calls, which are drawn by the same seed.
const APART: u64 = 0xc0de;

/// Where the rules come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The control plane, and those that stand in for it.
    Xds(Box<Server>, Vec<Server>),
    #[cfg(feature = "yaml")]
    Folder(folder::Folder),
}

impl Source {
    pub(crate) fn xds(first: Server, others: Vec<Server>, variant: Variant) -> Self {
        let speaking = |server: Server| server.with_variant(variant);
        let others = others.into_iter().map(speaking).collect();
        Self::Xds(Box::new(speaking(first)), others)
    }

    /// The same with each control plane changed.
    pub(crate) fn through<E>(
        self,
        mut change: impl FnMut(Server) -> Result<Server, E>,
    ) -> Result<Self, E> {
        Ok(match self {
            Self::Xds(first, others) => {
                let first = change(*first)?;
                let others: Result<_, E> = others.into_iter().map(change).collect();
                Self::Xds(Box::new(first), others?)
            }
            #[cfg(feature = "yaml")]
            folder => folder,
        })
    }

    #[cfg(feature = "yaml")]
    pub(crate) fn folder(path: std::path::PathBuf) -> Result<Self, crate::StartError> {
        folder::Folder::open(path).map(Self::Folder)
    }
}

/// Starts the thread. It ends when nobody can ask it for anything any more.
pub(crate) fn spawn(
    source: Source,
    node: Node,
    control: Control,
    live: Arc<Live>,
    seed: u64,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let random = Randomness::new(seed ^ APART);
    std::thread::Builder::new()
        .name("mesh-control".to_owned())
        .spawn(move || {
            let (mut rng, backoff_rng): (SplitMix, SplitMix) = (random.next(), random.next());
            let publish = move |assembled| {
                live.publish(&assembled, &mut rng);
                tracing::info!(
                    generation = assembled.snapshot.generation,
                    changed_hosts = assembled.changes.len(),
                    "configuration published"
                );
            };
            runtime.block_on(async {
                match source {
                    Source::Xds(first, others) => {
                        let peers = others.iter().map(Server::peer);
                        let machine = Machine::with_fallback(node, first.peer(), peers);
                        let servers = std::iter::once(*first).chain(others);
                        ads::run(servers, machine, control, backoff_rng, publish).await;
                    }
                    #[cfg(feature = "yaml")]
                    Source::Folder(folder) => folder.run(node, control, publish).await,
                }
            });
        })?;
    Ok(())
}
