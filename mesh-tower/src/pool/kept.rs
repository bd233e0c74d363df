//! Connections of peers that are proven end when the proof does.

use crate::tls::Kept;

/// Drives a connection to its end, or until its peer would no longer be taken and what ran had its time.
pub(super) async fn until_over<T, E>(
    kept: Option<Kept>,
    connection: impl Future<Output = Result<T, E>>,
) -> Result<(), E> {
    let Some(kept) = kept else {
        return connection.await.map(drop);
    };
    tokio::select! {
        ended = connection => ended.map(drop),
        () = kept.over() => Ok(()),
    }
}
