//! The control thread: everything about configuration happens here, on one thread with a runtime of
//! its own; request workers only ever see a finished snapshot.

use std::io;
use std::sync::Arc;

use mesh_xds::Node;
use mesh_xds::ads::{self, Control, Machine, Server, Variant};

use crate::live::Live;
use crate::random::{Randomness, SplitMix};

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
    let random = Randomness::new(seed ^ 0xc0de);
    std::thread::Builder::new()
        .name("mesh-control".to_owned())
        .spawn(move || {
            let (mut rng, backoff_rng): (SplitMix, SplitMix) = (random.next(), random.next());
            let publish = move |assembled| {
                live.publish(&assembled, &mut rng);
                tracing::info!(
                    generation = assembled.snapshot.generation,
                    hosts = assembled.changes.len(),
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

#[cfg(feature = "yaml")]
mod folder {
    //! A folder in a control plane's place: the same resources into the same machine.

    use std::path::PathBuf;

    use mesh_istio::Loaded;
    use mesh_istio::watch::Watcher;
    use mesh_xds::Assembled;
    use mesh_xds::Node;
    use mesh_xds::ads::{Control, Machine};
    use tokio::time::Instant;

    use crate::StartError;

    #[derive(Debug)]
    pub(crate) struct Folder {
        path: PathBuf,
        watcher: Watcher,
        loaded: Loaded,
    }

    impl Folder {
        pub(super) fn open(path: PathBuf) -> Result<Self, StartError> {
            match Watcher::start(&path) {
                Ok((watcher, loaded)) => Ok(Self {
                    path,
                    watcher,
                    loaded,
                }),
                Err(rejected) => Err(StartError::Folder {
                    folder: path,
                    rejected,
                }),
            }
        }

        pub(super) async fn run(
            mut self,
            node: Node,
            mut control: Control,
            mut publish: impl FnMut(Assembled),
        ) {
            let mut machine = Machine::new(node.clone(), self.path.display().to_string());
            let mut version = 0_u64;
            loop {
                version += 1;
                for note in &self.loaded.notes {
                    tracing::warn!("{note}");
                }
                let resources = self.loaded.config.resources(&node);
                machine.replaced(&version.to_string().into(), &resources);
                loop {
                    if let Some(assembled) = machine.assemble(Instant::now().into_std()) {
                        publish(assembled);
                    }
                    control.status.send_replace(machine.status().clone());
                    control.lookups.follow(&machine.lookups());
                    tokio::select! {
                        (lookup, answer) = control.lookups.next() => machine.looked_up(&lookup, answer),
                        question = control.csds.next() => question.answer(&machine),
                        changed = self.watcher.changed() => match changed {
                            Ok(loaded) => {
                                self.loaded = loaded;
                                break;
                            }
                            Err(rejected) => tracing::error!("{rejected}\nthe last good configuration stays in force"),
                        },
                        wanted = control.wanted.recv() => match wanted {
                            Some(wanted) => {
                                if machine.want(wanted) {
                                    machine.replaced(&version.to_string().into(), &resources);
                                }
                            }
                            None => return,
                        },
                    }
                }
            }
        }
    }
}
