//! Random histories of configuration, refused updates and time, with calls and visitors in between: under
//! [`Security::Required`] no byte of plaintext goes either way.
//!
//! Each history ends with rules that ask for plaintext, so that there is something to be refused in each. The first thousand
//! of them under [`Security::AsConfigured`] are the control: there each is seen on the wire.

mod plane;
mod play;
mod wire;

use plane::Plane;
use play::{Play, Tally};
use wire::Wire;

use crate::security::Security;
use crate::tls::tests::pki::{Authority, REVIEWS};

const HISTORIES: u64 = 10_000;
const CONTROLS: u64 = 1_000;

/// `MESH_HISTORY=SEED` plays one of them.
fn seeds(all: u64) -> std::ops::Range<u64> {
    let one = std::env::var("MESH_HISTORY").ok();
    match one.map(|seed| seed.parse().expect("MESH_HISTORY is a number")) {
        Some(seed) => seed..seed + 1,
        None => 0..all,
    }
}

async fn play_all(security: Security, all: u64, each: impl Fn(&str, &Tally)) -> Tally {
    let root = Authority::new("the mesh");
    let ours = root.workload(REVIEWS);
    let wire = Wire::listen().await;
    let plane = Plane::new(wire.address);
    let mut sum = Tally::default();
    for seed in seeds(all) {
        let mut play = Play::begin(security, seed, &plane, (&root, &ours)).await;
        let tally = play.run().await;
        each(
            &format!("MESH_HISTORY={seed}: {tally:?}, {}", play.told()),
            &tally,
        );
        sum.add(&tally);
    }
    // What comes late is counted here.
    wire.quiet().await;
    sum.seen = wire.seen();
    println!("{security:?}: {sum:?}");
    sum
}

#[tokio::test]
async fn ten_thousand_histories_send_no_plaintext() {
    let sum = play_all(Security::Required, HISTORIES, |this, tally| {
        assert_eq!(tally.answered, 0, "{this}: a call was answered");
        assert_eq!(tally.received, 0, "{this}: a visitor got bytes");
        assert_eq!(tally.let_in, 0, "{this}: the application saw a visitor");
        assert!(
            tally.held_back > 0,
            "{this}: no call was refused for its plaintext"
        );
        assert!(tally.visits > 0, "{this}: nobody was to be kept out");
    })
    .await;
    assert_eq!(sum.seen.plaintext_bytes, 0);
    if std::env::var_os("MESH_HISTORY").is_none() {
        // It is not for want of connections, or of updates that were refused.
        assert!(
            sum.seen.handshakes > 100 && sum.refused_updates > 1_000,
            "{sum:?}"
        );
        assert!(sum.timeouts > 1_000, "{sum:?}");
    }
}

/// The control: what was held back above.
#[tokio::test]
async fn the_same_histories_would_have_sent_plaintext() {
    let sum = play_all(Security::AsConfigured, CONTROLS, |this, tally| {
        assert!(tally.answered > 0, "{this}: nothing was to be refused");
        assert!(tally.let_in > 0, "{this}: nobody was to be kept out");
    })
    .await;
    assert!(sum.seen.plaintext_bytes > 0, "{sum:?}");
}
