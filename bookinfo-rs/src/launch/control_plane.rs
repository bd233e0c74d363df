//! Our own control plane as a child that is started again where it dies: services go on without it, so the demo must,
//! too.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::child::{Child, ChildError, Died};
use super::children;
use crate::process::warn;

/// How often it is started again before it is given up.
const ATTEMPTS: u32 = 6;

/// Before the first attempt; each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// One that ran so long gets all its attempts again.
const STEADY: Duration = Duration::from_secs(60);

/// A control plane at one address, whichever process it is.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    keeping: JoinHandle<()>,
    lost: watch::Receiver<Option<Died>>,
}

impl ControlPlane {
    /// Starts it, and keeps it running until [`stop`](Self::stop) or until this is dropped.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        certificates: bool,
    ) -> Result<Self, ChildError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut child = children::control_plane(program, folder, any, certificates)?;
        let address = child.listening().await?;
        let (stop, stopped) = oneshot::channel();
        let (tell, lost) = watch::channel(None);
        let mut keeper = Keeper {
            program: program.to_owned(),
            folder: folder.to_owned(),
            certificates,
            address,
            child,
        };
        let keeping = tokio::spawn(async move {
            let died = tokio::select! {
                died = keeper.keep() => Some(died),
                _ = stopped => None,
            };
            keeper.child.stop().await;
            let _ = tell.send(died);
        });
        Ok(Self {
            address,
            stop,
            keeping,
            lost,
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has been given up.
    pub(crate) async fn lost(&self) -> Died {
        let mut lost = self.lost.clone();
        let died = lost
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|died| died.clone());
        match died {
            Some(died) => died,
            // Stopped on purpose.
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.keeping.await;
    }
}

/// Who starts it again.
struct Keeper {
    program: PathBuf,
    folder: PathBuf,
    certificates: bool,
    address: SocketAddr,
    child: Child,
}

impl Keeper {
    /// Returns only when all attempts are used up.
    async fn keep(&mut self) -> Died {
        let (mut attempts, address) = (0, self.address);
        loop {
            let since = Instant::now();
            let mut died = self.child.died().await;
            if since.elapsed() >= STEADY {
                attempts = 0;
            }
            warn(&format!(
                "the control plane is started again on {address}, services go on meanwhile: {died}"
            ));
            self.child = loop {
                if attempts == ATTEMPTS {
                    return died;
                }
                sleep(PAUSE * 2_u32.pow(attempts)).await;
                attempts += 1;
                match self.again().await {
                    Ok(child) => break child,
                    Err(error) => {
                        warn(&format!("attempt {attempts} of {ATTEMPTS}: {error}"));
                        if let ChildError::Died(again) = error {
                            died = again;
                        }
                    }
                }
            };
            warn(&format!("the control plane runs again on {address}"));
        }
    }

    async fn again(&self) -> Result<Child, ChildError> {
        let Self {
            program,
            folder,
            address,
            certificates,
            ..
        } = self;
        let mut child = children::control_plane(program, folder, *address, *certificates)?;
        child.listening().await?;
        Ok(child)
    }
}
