//! Two connections that have changed to another protocol, which is nobody's business here.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Hands bytes from each to the other until both have ended, or one fails. A drain of the mesh ends them, as it does
/// requests.
pub(super) async fn between(client: OnUpgrade, backend: OnUpgrade) {
    let both = futures_util::future::try_join(client, backend);
    let (client, backend) = match both.await {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "a change of protocol did not come about");
            return;
        }
    };
    let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
        tracing::debug!(%error, "a connection of another protocol ended early");
    }
}
