//! Where a workload's certificate comes from.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use super::keys::Material;
use super::own::Rejected;
use super::store::Store;

/// What feeds a mesh, for as long as it lasts.
pub type Feeding = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Gives a mesh its certificate, and the next one in time ([`Builder::certificates`](crate::Builder::certificates)).
/// [`Files`](crate::Files) is one; an authority that is asked by a signing request is another.
///
/// ```
/// use std::sync::Arc;
/// use mesh_tower::{CertificateProvider, Certificates, Feeding, Material};
///
/// struct Given(Arc<dyn Fn() -> Result<Material, String> + Send + Sync>);
///
/// impl CertificateProvider for Given {
///     fn feed(self: Arc<Self>, to: Certificates) -> Feeding {
///         Box::pin(async move {
///             match (self.0)() {
///                 // What is refused is logged, and the certificate before it stays.
///                 Ok(material) => drop(to.offer(&material)),
///                 Err(error) => to.failed(&error),
///             }
///         })
///     }
/// }
/// ```
pub trait CertificateProvider: Send + Sync + 'static {
    /// Offers what it has and goes on to offer what takes its place. It runs on the mesh's thread for TLS, beside the
    /// handshakes: what takes time belongs on another one. It is dropped with the mesh.
    fn feed(self: Arc<Self>, to: Certificates) -> Feeding;
}

/// Where a provider hands over what it has.
#[derive(Clone)]
pub struct Certificates(Weak<Store>);

impl Certificates {
    pub(super) fn of(store: &Arc<Store>) -> Self {
        Self(Arc::downgrade(store))
    }

    /// Offers a certificate with its key and the roots that came with it. It is shown from the next handshake on.
    ///
    /// # Errors
    /// When it cannot be taken: the key is another one's, it does not hold by its roots, is not valid now, or names
    /// another workload than before. The one before stays.
    pub fn offer(&self, material: &Material) -> Result<(), Rejected> {
        match self.0.upgrade() {
            Some(store) => store.offer(material).map(drop),
            // Nobody asks for it any more.
            None => Ok(()),
        }
    }

    /// Says why there is nothing to offer. The certificate before stays; the reason is logged, and told by calls that fail
    /// for want of one.
    pub fn failed(&self, reason: &dyn fmt::Display) {
        if let Some(store) = self.0.upgrade() {
            store.failed(reason);
        }
    }
}

impl Certificates {
    /// Where it goes, while somebody has a use for it.
    pub(super) fn store(&self) -> Option<Arc<Store>> {
        self.0.upgrade()
    }
}

#[cfg(feature = "csr")]
impl Certificates {
    /// Now, and the end of what was taken last, since 1970; none when there is no mesh any more.
    pub(super) fn life(&self) -> Option<(std::time::Duration, std::time::Duration)> {
        let store = self.store()?;
        let now = std::time::Duration::from_secs(store.now()?.as_secs());
        let own = store.own()?;
        let end = std::time::Duration::from_secs(own.certificate.not_after);
        Some((now, end))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}
