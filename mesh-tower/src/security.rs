//! Whether plaintext may be spoken. The permit for it is made here alone, and connections without TLS cannot be made
//! without one.

use std::sync::Arc;

/// What a mesh demands of its connections beside what the configuration says. By default
/// [`Security::AsConfigured`].
///
/// It is about calls, about what is served and about the link to the control plane. DNS and the admin port are no part of
/// it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// No plaintext, whatever the configuration says: a call that it sends in plaintext fails, also one to a host outside
    /// of the mesh, and so does a connection that comes in without TLS. With a control plane that is reached in plaintext
    /// the mesh does not start; a socket of this machine is none.
    Required,
    /// TLS where the configuration says so (`PeerAuthentication`, `DestinationRule`, Istio's auto mTLS). What it says and
    /// what cannot be done fails; plaintext never takes its place.
    #[default]
    AsConfigured,
    /// No TLS inside of the mesh. What the configuration demands is refused, not passed over.
    Disabled,
}

/// The permit to speak plaintext on a connection.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "connections take it next")]
pub(crate) struct Plaintext(());

#[allow(dead_code, reason = "connections take it next")]
impl Security {
    /// For a connection that comes in; `who` says that it may be plaintext.
    pub(crate) fn inbound(self, who: &str) -> Result<Plaintext, Arc<str>> {
        self.permit().ok_or_else(|| {
            format!(
                "the {who} lets plaintext in, and Builder::security(Security::Required) does not"
            )
            .into()
        })
    }

    const fn permit(self) -> Option<Plaintext> {
        match self {
            Self::Required => None,
            Self::AsConfigured | Self::Disabled => Some(Plaintext(())),
        }
    }
}
