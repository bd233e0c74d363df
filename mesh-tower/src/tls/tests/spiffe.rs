//! SPIFFE's Workload API: what an agent sends, what is refused, and what stays while it is away.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::future::{Ready, ready};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::CustomExtension;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use super::pki::{Authority, Leaf, REVIEWS, changed};
use super::scene::{empty_store, until};
use super::sds::{refusal, shows};
use crate::tls::provider::{CertificateProvider, Certificates};
use crate::tls::spiffe::WorkloadApi;
use crate::tls::store::Store;

const RATINGS: &str = "spiffe://cluster.local/ns/default/sa/ratings";

/// The messages as SPIFFE's `workload.proto` numbers them.
#[derive(Clone, PartialEq, prost::Message)]
struct Update {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "3")]
    federated_bundles: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    hint: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

fn svid(id: &str, leaf: &Leaf, roots: &[&Authority]) -> Svid {
    Svid {
        spiffe_id: id.to_owned(),
        x509_svid: leaf.chain.iter().flat_map(|der| der.to_vec()).collect(),
        x509_svid_key: leaf.key.serialize_der(),
        bundle: der(roots),
        hint: "internal".to_owned(),
    }
}

fn der(roots: &[&Authority]) -> Vec<u8> {
    roots.iter().flat_map(|root| root.der().to_vec()).collect()
}

fn update(svids: impl IntoIterator<Item = Svid>) -> Update {
    Update {
        svids: svids.into_iter().collect(),
        ..Update::default()
    }
}

/// What it answers now; an error ends the stream.
type Answer = Result<Update, Status>;

/// A SPIFFE agent.
struct Agent {
    folder: TempDir,
    gives: watch::Sender<Answer>,
    /// Headers of the calls.
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

#[derive(Clone)]
struct Api(watch::Receiver<Answer>);

impl tonic::server::ServerStreamingService<Nothing> for Api {
    type Response = Update;
    type ResponseStream = BoxStream<'static, Answer>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<Nothing>) -> Self::Future {
        let mut answers = self.0.clone();
        answers.mark_changed();
        let updates = stream::unfold(answers, |mut answers| async move {
            answers.changed().await.ok()?;
            let answer = answers.borrow_and_update().clone();
            Some((answer, answers))
        });
        ready(Ok(Response::new(updates.boxed())))
    }
}

impl Agent {
    fn start(first: Answer) -> Self {
        let agent = Self {
            folder: TempDir::new().unwrap(),
            gives: watch::Sender::new(first),
            asked: Arc::default(),
        };
        let listener = UnixListener::bind(agent.path()).unwrap();
        let (api, asked) = (Api(agent.gives.subscribe()), Arc::clone(&agent.asked));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (api, asked) = (api.clone(), Arc::clone(&asked));
                let app = tower::service_fn(move |request| {
                    answer(request, api.clone(), Arc::clone(&asked))
                        .map(Ok::<_, std::convert::Infallible>)
                });
                tokio::spawn(async move {
                    let serving = auto::Builder::new(TokioExecutor::new());
                    let service = TowerToHyperService::new(app);
                    drop(
                        serving
                            .serve_connection(TokioIo::new(socket), service)
                            .await,
                    );
                });
            }
        });
        agent
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    fn gives(&self, answer: Answer) {
        drop(self.gives.send_replace(answer));
    }

    fn feeds(&self, api: impl FnOnce(WorkloadApi) -> WorkloadApi) -> Arc<Store> {
        let store = empty_store();
        let api = Arc::new(api(WorkloadApi::new(self.path())));
        tokio::spawn(api.feed(Certificates::of(&store)));
        store
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    api: Api,
    asked: Arc<Mutex<Vec<Option<String>>>>,
) -> http::Response<tonic::body::Body> {
    let header = request.headers().get("workload.spiffe.io");
    let header = header.map(|value| value.to_str().unwrap().to_owned());
    let path = request.uri().path().to_owned();
    asked.lock().unwrap().push(header);
    assert_eq!(path, "/SpiffeWorkloadAPI/FetchX509SVID");
    let codec = ProstCodec::<Update, Nothing>::default();
    let mut grpc = tonic::server::Grpc::new(codec);
    grpc.server_streaming(api, request).await
}

#[tokio::test]
async fn an_agent_rotates_us_and_federates() {
    let [a, b] = ["a", "b"].map(Authority::new);
    let (first, second) = (a.workload(REVIEWS), a.workload(REVIEWS));
    let agent = Agent::start(Ok(update([svid(REVIEWS, &first, &[&a])])));
    let store = agent.feeds(|api| api);
    until("the first", || shows(&store, &first)).await;
    assert_eq!(*agent.asked.lock().unwrap(), [Some("true".to_owned())]);
    let mut next = update([svid(REVIEWS, &second, &[&a])]);
    let partner = "spiffe://partner.example".to_owned();
    next.federated_bundles.insert(partner, der(&[&b]));
    agent.gives(Ok(next));
    until("the second", || shows(&store, &second)).await;
    assert_eq!((store.refusal(), store.believed()), (None, 2));
    // Each authority is for its own domain.
    let id = "spiffe://partner.example/ns/default/sa/reviews";
    for (leaf, id, says) in [
        (b.workload(id), id, None),
        (a.workload(REVIEWS), REVIEWS, None),
        (b.workload(REVIEWS), REVIEWS, Some("leads to none")),
        (a.workload(id), id, Some("leads to none")),
    ] {
        let rule = super::scene::exactly(id);
        let [called, came] = super::domains::meets(&store, &rule, &leaf, &a).await;
        for told in [called, came] {
            assert_eq!(told.is_some(), says.is_some(), "{told:?}");
            let told = told.unwrap_or_default();
            assert!(told.contains(says.unwrap_or_default()), "{told}");
        }
    }
}

#[tokio::test]
async fn of_several_identities_the_first_or_the_one_that_is_asked_for_is_taken() {
    let root = Authority::new("the mesh");
    let (reviews, ratings) = (root.workload(REVIEWS), root.workload(RATINGS));
    let both = [
        svid(RATINGS, &ratings, &[&root]),
        svid(REVIEWS, &reviews, &[&root]),
    ];
    let agent = Agent::start(Ok(update(both)));
    let first = agent.feeds(|api| api);
    let asked = agent.feeds(|api| api.identity(REVIEWS.parse().unwrap()));
    until("the first", || shows(&first, &ratings)).await;
    until("the one", || shows(&asked, &reviews)).await;
    let other = agent.feeds(|api| api.identity(format!("{REVIEWS}2").parse().unwrap()));
    until("none", || refusal(&other).contains("holds no identity")).await;
    let told = refusal(&other);
    assert!(
        told.contains(RATINGS) && told.contains("reviews2"),
        "{told}"
    );
}

/// What is wrong, and what is said of it.
fn bad(
    root: &Authority,
    other: &Authority,
    good: &Leaf,
    next: &Leaf,
) -> Vec<(Answer, &'static str)> {
    let of = |change: &dyn Fn(&mut Svid)| {
        let mut one = svid(REVIEWS, good, &[root]);
        change(&mut one);
        Ok(update([one]))
    };
    let federating = |name: &str, bundle: &[u8]| {
        let mut update = update([svid(REVIEWS, good, &[root])]);
        update
            .federated_bundles
            .insert(name.to_owned(), bundle.to_vec());
        Ok(update)
    };
    let mut listed = update([svid(REVIEWS, good, &[root])]);
    listed.crl = vec![vec![1]];
    let key = next.key.serialize_der();
    let foreign = der(&[other]);
    vec![
        (Ok(update([])), "holds no identity"),
        (Ok(listed), "crl is not served"),
        (
            of(&|it| it.x509_svid_key.clone_from(&key)),
            "not the key of the certificate",
        ),
        (
            of(&|it| it.x509_svid_key = b"garbage".to_vec()),
            "cannot be used",
        ),
        (
            of(&|it| it.x509_svid = b"garbage".to_vec()),
            "x509_svid: certificate 1",
        ),
        (of(&|it| it.x509_svid.push(0)), "x509_svid: certificate 2"),
        (of(&|it| it.bundle.clear()), "there is no certificate"),
        (of(&|it| it.bundle.clone_from(&foreign)), "leads to none"),
        (
            of(&|it| it.spiffe_id = "reviews".to_owned()),
            "no id of a trust domain",
        ),
        (federating("cluster.local", &foreign), "is there twice"),
        (
            Err(Status::permission_denied("no identity issued")),
            "register the workload",
        ),
        (Err(Status::internal("out of order")), "out of order"),
    ]
}

#[tokio::test]
async fn what_is_wrong_in_an_update_leaves_the_one_before() {
    let [root, other] = ["the mesh", "another"].map(Authority::new);
    let (good, next) = (root.workload(REVIEWS), root.workload(REVIEWS));
    let agent = Agent::start(Ok(update([svid(REVIEWS, &good, &[&root])])));
    let store = agent.feeds(|api| api);
    until("the good one", || shows(&store, &good)).await;
    for (answer, says) in bad(&root, &other, &good, &next) {
        agent.gives(answer);
        until(says, || refusal(&store).contains(says)).await;
        assert!(refusal(&store).contains("agent.sock") && shows(&store, &good));
        assert_eq!(store.believed(), 1);
    }
    // The control.
    agent.gives(Ok(update([svid(REVIEWS, &next, &[&root])])));
    until("the next", || shows(&store, &next)).await;
    until("it is well", || store.refusal().is_none()).await;
}

/// Whoever asks for one identity must not become another one.
#[tokio::test]
async fn a_certificate_is_of_whom_the_agent_says() {
    let root = Authority::new("the mesh");
    let (reviews, ratings) = (root.workload(REVIEWS), root.workload(RATINGS));
    let agent = Agent::start(Ok(update([svid(REVIEWS, &ratings, &[&root])])));
    let asks = |api: WorkloadApi| api.identity(REVIEWS.parse().unwrap());
    for store in [agent.feeds(asks), agent.feeds(|api| api)] {
        until("it is refused", || {
            refusal(&store).contains("came as that of")
        })
        .await;
        assert!(store.own().is_none());
    }
    // The control.
    let store = agent.feeds(asks);
    agent.gives(Ok(update([svid(REVIEWS, &reviews, &[&root])])));
    until("the good one", || shows(&store, &reviews)).await;
}

/// Who is federated with could else keep us from our next certificate until the last one has ended.
#[tokio::test]
async fn a_bundle_of_others_that_is_no_good_costs_their_domain_alone() {
    let [root, partner, other] = ["the mesh", "a partner", "another"].map(Authority::new);
    // A certificate in DER with something that no authority can have: a critical extension that nobody knows.
    let strange = partner.issue(&changed(|params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    }));
    let strange: Vec<u8> = strange.chain[0].to_vec();
    let first = root.workload(REVIEWS);
    let agent = Agent::start(Ok(update([svid(REVIEWS, &first, &[&root])])));
    let store = agent.feeds(|api| api);
    until("the first", || shows(&store, &first)).await;
    let id = "spiffe://partner.example/ns/default/sa/reviews";
    let good = der(&[&partner]);
    for (name, bundle, is_believed) in [
        ("spiffe://partner.example", &good[..], true),
        ("spiffe://partner.example", &[], false),
        ("spiffe://partner.example", b"garbage", false),
        ("spiffe://partner.example", &strange, false),
        ("spiffe://Partner", &good, false),
    ] {
        let next = root.workload(REVIEWS);
        let mut rotated = update([svid(REVIEWS, &next, &[&root])]);
        let bundles = &mut rotated.federated_bundles;
        bundles.insert(name.to_owned(), bundle.to_vec());
        bundles.insert("spiffe://another.example".to_owned(), der(&[&other]));
        agent.gives(Ok(rotated));
        until("the next", || shows(&store, &next)).await;
        assert_eq!(store.refusal(), None, "{name}");
        let another = "spiffe://another.example/ns/default/sa/reviews";
        for (authority, id, is_met) in [(&partner, id, is_believed), (&other, another, true)] {
            let rule = super::scene::exactly(id);
            let leaf = authority.workload(id);
            let [called, came] = super::domains::meets(&store, &rule, &leaf, &root).await;
            let is_none = [called.is_none(), came.is_none()];
            assert_eq!(is_none, [is_met; 2], "{name} {id} {called:?} {came:?}");
        }
    }
}
