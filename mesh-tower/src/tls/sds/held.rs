//! The two secrets that make what a workload has. They come one by one.

use std::path::Path;
use std::sync::Arc;

use super::secret::SecretFault;
use crate::tls::keys::{Identity, Material};
use crate::tls::provider::Certificates;
use crate::tls::roots::Roots;

/// What came last of each and was good of itself.
pub(super) struct Held {
    identity: Option<Identity>,
    roots: Option<Roots>,
    whence: Arc<str>,
}

/// One of them.
pub(super) enum Secret {
    Pair(Identity),
    Roots(Roots),
}

impl Held {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            identity: None,
            roots: None,
            whence: format!("the SDS socket {}", path.display()).into(),
        }
    }

    /// Takes one, and offers both once they are there. What is wrong leaves the one before; what does not go with the other
    /// one stays, because the other may be about to be replaced, too.
    pub(super) fn take(&mut self, secret: Secret, to: &Certificates) -> Result<(), SecretFault> {
        match secret {
            Secret::Pair(identity) => {
                let before = self.identity.replace(identity);
                self.offer(to).inspect_err(|_| self.identity = before)
            }
            Secret::Roots(roots) => {
                let before = self.roots.replace(roots);
                self.offer(to).inspect_err(|_| self.roots = before)
            }
        }
    }

    fn offer(&mut self, to: &Certificates) -> Result<(), SecretFault> {
        let Some(roots) = &self.roots else {
            return Ok(());
        };
        let Some(identity) = self.identity.take() else {
            return Ok(());
        };
        let material = Material::new(identity, roots.clone(), Arc::clone(&self.whence));
        let offered = to.offer(&material);
        self.identity = Some(material.identity);
        match offered {
            Err(rejected) if !rejected.is_of_other_roots() => Err(rejected.into()),
            // The store has said why it waits.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
