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
                        Err(rejected) => tracing::error!("{rejected}\nthe last good configuration, version {version}, stays in force"),
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
