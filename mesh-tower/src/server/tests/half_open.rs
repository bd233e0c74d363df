//! The bound of connections that are being opened.

use std::future::pending;
use std::sync::Arc;

use crate::server::half_open::{HalfOpen, MOST};
use crate::tls::tests::scene::until;

#[tokio::test]
async fn of_too_many_the_oldest_goes() {
    let alive: Vec<Arc<()>> = (0..MOST + 3).map(|_| Arc::new(())).collect();
    let mut half_open = HalfOpen::default();
    for (at, one) in alive.iter().enumerate() {
        let one = Arc::clone(one);
        let had_to_go = half_open.open(async move {
            pending::<()>().await;
            drop(one);
            None
        });
        assert_eq!(had_to_go, at >= MOST, "{at}");
        // What was aborted is taken out by who asks for the next.
        let next = half_open.next();
        tokio::select! {
            biased;
            _ = next => panic!("none is open"),
            () = tokio::task::yield_now() => {}
        }
    }
    let is_gone = |one: &Arc<()>| Arc::strong_count(one) == 1;
    let are_gone = || alive.iter().filter(|one| is_gone(one)).count() >= 3;
    until("three are gone", are_gone).await;
    let gone = alive.iter().map(is_gone);
    let expected = (0..MOST + 3).map(|at| at < 3);
    assert!(gone.eq(expected), "the first three alone");
}
