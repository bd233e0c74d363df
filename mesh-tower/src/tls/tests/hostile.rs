//! Certificates that somebody might try, each refused by the one check that is there for it; without that check it would pass.

mod chains;
mod names;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::cluster::Protocol;
use mesh_core::identity::{Domains, PeerRule};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::mask::Check;
use super::pki::{Authority, Leaf, REVIEWS, changed, crypto, named};
use super::scene::{
    BOTH, Clock, calls, client, is_called, is_reviews, server, their_anonymous_server,
    their_client, their_server,
};
use crate::tls::Roots;
use crate::tls::Settings;
use crate::tls::crypto::Crypto;
use crate::tls::store::Store;
use crate::tls::trust::{Role, Trust};
use crate::tls::verify::{Clients, Judge, Servers, Wrong};

/// 2026-01-01, in seconds since 1970.
const NOW: u64 = 1_767_225_600;

struct Hostile {
    class: &'static str,
    name: String,
    leaf: Leaf,
    /// What refuses it where this one workload is wanted.
    exact: Check,
    /// What refuses it where any workload of the mesh will do; none if that is what it is.
    in_mesh: Option<Check>,
}

impl Hostile {
    fn new(
        class: &'static str,
        name: &str,
        leaf: Leaf,
        (exact, in_mesh): (Check, Option<Check>),
    ) -> Self {
        Self {
            class,
            name: name.escape_debug().take(100).collect(),
            leaf,
            exact,
            in_mesh,
        }
    }
}

struct Table<'a> {
    root: &'a Authority,
    /// What they are shown as.
    role: Role,
    all: Vec<Hostile>,
}

impl Table<'_> {
    fn all(root: &Authority, role: Role) -> Vec<Hostile> {
        let all = Vec::new();
        let mut table = Table { root, role, all };
        chains::all(&mut table);
        names::all(&mut table);
        table.all
    }

    /// One that is refused in the same way under each rule.
    fn add(&mut self, class: &'static str, name: &str, leaf: Leaf, check: Check) {
        let checks = (check, Some(check));
        self.all.push(Hostile::new(class, name, leaf, checks));
    }

    fn id(&mut self, class: &'static str, id: &str, exact: Check, in_mesh: Option<Check>) {
        let leaf = self.root.workload(id);
        self.all
            .push(Hostile::new(class, id, leaf, (exact, in_mesh)));
    }
}

/// Judges as a workload of ours does, but for one check.
struct Court {
    crypto: Crypto,
    trust: Arc<Trust>,
    root: Authority,
    role: Role,
}

impl Court {
    fn new(role: Role) -> Self {
        let (crypto, root) = (crypto(), Authority::new("the mesh"));
        let roots = Roots::from_pem(root.pem().as_bytes()).unwrap();
        let trust = Trust::of(&roots, &"the test's files".into(), &crypto).unwrap();
        Self {
            crypto,
            trust: Arc::new(trust),
            root,
            role,
        }
    }

    fn judge(&self, rule: &Arc<PeerRule>, masked: Option<Check>) -> Judge {
        let domains = Domains {
            own: "cluster.local".parse().unwrap(),
            aliases: [].into(),
        };
        let by = (&self.trust, domains);
        Judge::without(masked, &self.crypto, rule, by)
    }

    fn verdict(
        &self,
        it: &Hostile,
        rule: &Arc<PeerRule>,
        masked: Option<Check>,
    ) -> Result<(), String> {
        let judge = self.judge(rule, masked);
        // Only a handshake proves a key.
        if it.exact == Check::Key {
            return self.shakes(judge, &it.leaf);
        }
        self.judged(&judge, &it.leaf)
            .map_err(|wrong| wrong.refused.to_string())
    }

    fn judged(&self, judge: &Judge, leaf: &Leaf) -> Result<(), Wrong> {
        let (own, above) = leaf.chain.split_first().unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        judge.judge(self.role, (own, above), now)
    }

    fn shakes(&self, judge: Judge, leaf: &Leaf) -> Result<(), String> {
        let judge = Arc::new(judge);
        let ours = self.root.workload(REVIEWS).certified();
        let (client, server) = match self.role {
            Role::Server => {
                let client = ClientConfig::builder_with_details(crypto().provider, Clock::at(NOW))
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Servers(Arc::clone(&judge))))
                    .with_no_client_auth();
                (client, their_anonymous_server(leaf))
            }
            Role::Client => {
                let server = ServerConfig::builder_with_details(crypto().provider, Clock::at(NOW))
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_client_cert_verifier(Arc::new(Clients(Arc::clone(&judge), true)))
                    .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(ours)));
                (their_client(Some(leaf), BOTH[0]), server)
            }
        };
        let name = ServerName::try_from("reviews").unwrap();
        let client = ClientConnection::new(Arc::new(client), name).unwrap();
        let server = ServerConnection::new(Arc::new(server)).unwrap();
        shaken(client, server).map_err(|error| {
            let refused = judge.refused().map(ToString::to_string);
            refused.unwrap_or_else(|| error.to_string())
        })
    }
}

/// Both ends in memory.
fn shaken(mut client: ClientConnection, mut server: ServerConnection) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    // More than the flights of any handshake.
    for _ in 0..8 {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    match client.is_handshaking() || server.is_handshaking() {
        true => panic!("no end of the handshake"),
        false => Ok(()),
    }
}

/// The checks of which a text tells: it is worth something if that is one.
fn told_by(text: &str) -> Vec<Check> {
    let mut all = Check::ALL.to_vec();
    all.retain(|check| check.is_told_by(text));
    all
}

fn rules() -> [Arc<PeerRule>; 3] {
    let domain = "cluster.local".parse().unwrap();
    [
        is_reviews(),
        PeerRule::InMesh,
        PeerRule::Domains([domain].into()),
    ]
    .map(Arc::new)
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];

#[test]
fn each_is_refused_for_its_reason() {
    for role in ROLES {
        let court = Court::new(role);
        let all = Table::all(&court.root, role);
        let classes: BTreeSet<&str> = all.iter().map(|it| it.class).collect();
        assert!(
            all.len() >= 200 && classes.len() >= 20,
            "{} in {}",
            all.len(),
            classes.len()
        );
        let mut wrong = Vec::new();
        for it in &all {
            for (rule, due) in rules().iter().zip([Some(it.exact), it.in_mesh, it.in_mesh]) {
                let verdict = court.verdict(it, rule, None);
                let is_right = match (&verdict, due) {
                    (Ok(()), None) => true,
                    (Err(text), Some(check)) => told_by(text) == [check],
                    _ => false,
                };
                if !is_right {
                    wrong.push(format!(
                        "{role:?}, {}, {}: {due:?}, but {verdict:?}",
                        it.class, it.name
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// What the table is worth: each check is the only one against some certificate.
fn each_check_is_for_something(role: Role) {
    let court = Court::new(role);
    let all = Table::all(&court.root, role);
    for masked in Check::ALL {
        let mut through = 0;
        for it in &all {
            for (rule, due) in rules().iter().zip([Some(it.exact), it.in_mesh]) {
                let Some(due) = due else { continue };
                if court.verdict(it, rule, Some(masked)).is_ok() {
                    assert_eq!(due, masked, "{}: {}", it.class, it.name);
                    through += 1;
                }
            }
        }
        assert!(through > 0, "nothing is lost without {masked:?}");
    }
}

#[test]
fn without_any_one_check_a_server_gets_through() {
    each_check_is_for_something(Role::Server);
}

#[test]
fn without_any_one_check_a_client_gets_through() {
    each_check_is_for_something(Role::Client);
}

/// The court lets in whom it should.
#[test]
fn good_ones_pass() {
    for role in ROLES {
        let court = Court::new(role);
        let ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let below = court.root.below("between", ca);
        let last = changed(|it| it.not_after = rcgen::date_time_ymd(2026, 1, 1));
        let first = changed(|it| it.not_before = rcgen::date_time_ymd(2026, 1, 1));
        let all = [
            court.root.workload(REVIEWS),
            court.root.workload(REVIEWS).with(&court.root),
            below.workload(REVIEWS).with(&below),
            (0..7).fold(below.workload(REVIEWS), |leaf, _| leaf.with(&below)),
            court
                .root
                .issue(&changed(|it| it.extended_key_usages.clear())),
            court.root.issue(&changed(|it| {
                it.subject_alt_names.push(super::pki::dns("reviews"))
            })),
            court.root.issue(&named(&[REVIEWS])),
            court.root.issue(&last),
            court.root.issue(&first),
        ];
        for (at, leaf) in all.iter().enumerate() {
            for rule in &rules() {
                let judge = court.judge(rule, None);
                assert!(court.judged(&judge, leaf).is_ok(), "{at}");
                assert_eq!(court.shakes(judge, leaf), Ok(()), "{at}");
            }
        }
    }
}

/// The first of each class.
fn firsts(root: &Authority, role: Role) -> Vec<Hostile> {
    let mut classes = BTreeSet::new();
    let mut all = Table::all(root, role);
    all.retain(|it| classes.insert(it.class));
    assert!(all.len() >= 20, "{}", all.len());
    all
}

/// A workload of ours, whose clock stands.
fn store(root: &Authority) -> Arc<Store> {
    let store = Store::new(Ok(crypto()), Clock::at(NOW), Settings::default());
    let ours = root.workload(REVIEWS);
    store.offer(&ours.material(&[root])).unwrap();
    Arc::new(store)
}

#[tokio::test]
async fn one_of_each_class_meets_our_client() {
    let root = Authority::new("the mesh");
    let client = client(&store(&root), is_reviews());
    // The control, before and after: the same client takes whom it should.
    let good = Arc::new(their_server(&root.workload(REVIEWS), &root, BOTH[0]));
    calls(&client, &good, Protocol::Http1).await.unwrap();
    for it in firsts(&root, Role::Server) {
        let theirs = Arc::new(their_server(&it.leaf, &root, BOTH[0]));
        let refused = calls(&client, &theirs, Protocol::Http1).await;
        let text = refused.expect_err(it.class).to_string();
        assert_eq!(told_by(&text), [it.exact], "{}: {text}", it.class);
    }
    calls(&client, &good, Protocol::Http1).await.unwrap();
}

#[tokio::test]
async fn one_of_each_class_meets_our_server() {
    let root = Authority::new("the mesh");
    let server = server(&store(&root), is_reviews());
    let good = Arc::new(their_client(Some(&root.workload(REVIEWS)), BOTH[0]));
    is_called(&server, &good).await.unwrap();
    for it in firsts(&root, Role::Client) {
        let theirs = Arc::new(their_client(Some(&it.leaf), BOTH[0]));
        let refused = is_called(&server, &theirs).await;
        let (error, _) = refused.expect_err(it.class);
        let text = error.to_string();
        assert_eq!(told_by(&text), [it.exact], "{}: {text}", it.class);
    }
    is_called(&server, &good).await.unwrap();
}
