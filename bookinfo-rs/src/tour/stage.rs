//! Where tasks are played: applies edits, waits until they are in force, takes them back, and measures how long
//! that took in each service concerned.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use mesh_istio::{Object, Options};
use tempfile::TempDir;
use tokio::time::Instant;

use super::edits::{By, Edit, EditError, Sees, Told};
use super::inside::Inside;
use super::judge::Version;
use super::{Task, TourError, shop};
use crate::launch::Demo;
use crate::launch::certificates::{CertificatesError, Renewal};
use crate::launch::folder::{self, TOUR};
use crate::outside::{Outside, Reply};
use crate::service::{demo, reviews};

/// How long an edit may take. Ours takes milliseconds; istiod gathers changes for a while first.
const IN_FORCE: Duration = Duration::from_secs(15);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// How the tour's file begins.
const HEAD: &str = "# The rules of the task that is being played. Written by the tour, removed when it ends.\n---\n";

/// A running demo, and what has been done to it.
#[derive(Debug)]
pub(crate) struct Stage {
    /// `http://127.0.0.1:PORT` of the ingress.
    url: String,
    dir: PathBuf,
    /// Reviews that call ratings, by name and address.
    callers_of_ratings: Vec<(String, String)>,
    /// Services by name, and where their workloads listen.
    addresses: BTreeMap<&'static str, Vec<SocketAddr>>,
    /// Whatever renews certificates, and where each workload has its own; nothing where there are none.
    certificates: Option<Certified>,
    /// Where the ingress takes TLS.
    https: Option<SocketAddr>,
    /// A folder of the tour's own.
    scratch: TempDir,
    /// What stands for something that only a running demo has, and what that is.
    filled: Vec<(&'static str, String)>,
    client: Outside,
    inside: Inside,
    control: bool,
    applied: Vec<&'static Edit>,
    /// What the tour's file holds: documents by the names of their objects.
    rules: BTreeMap<String, String>,
    delays: Vec<Duration>,
}

/// The certificates of a demo.
#[derive(Debug)]
struct Certified {
    renewal: Renewal,
    dir: PathBuf,
}

/// How to see whether an edit is in force in one service.
#[derive(Debug)]
struct Probe {
    service: String,
    url: String,
    sign: Sign,
}

/// By what.
#[derive(Debug)]
enum Sign {
    /// The rule that routed the call behind the answer.
    Rules(Vec<&'static str>),
    /// The answer.
    Answer(Told),
}

impl Stage {
    /// A stage on this demo. As a control, nothing that is applied reaches it.
    ///
    /// # Errors
    /// When the folder holds an object that one of the tasks applies: it would be overwritten, and then gone. `named`
    /// is the folder as its owner calls it. When there is no client in the mesh.
    pub(crate) fn new(
        demo: &Demo,
        control: bool,
        tasks: &[Task],
        named: &Path,
    ) -> Result<Self, TourError> {
        if !control {
            nothing_is_taken(demo.folder().path(), tasks, named)?;
        }
        let reviews = demo
            .workloads()
            .iter()
            .filter(|(workload, _)| workload.service == "reviews");
        let scratch = tempfile::tempdir().map_err(|error| TourError::Files(error.to_string()))?;
        let callers = reviews.filter(|(workload, _)| workload.version != "v1");
        Ok(Self {
            url: demo.url(),
            dir: demo.folder().path().to_owned(),
            callers_of_ratings: callers
                .map(|(w, address)| (w.name(), format!("http://{address}/reviews/0")))
                .collect(),
            addresses: addresses(demo),
            certificates: certificates(demo),
            https: demo.https_address(),
            filled: filled(demo, scratch.path()),
            scratch,
            client: Outside::default(),
            inside: Inside::new(demo)?,
            control,
            applied: Vec::new(),
            rules: BTreeMap::new(),
            delays: Vec::new(),
        })
    }

    /// The ingress.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The client outside the mesh.
    pub(crate) const fn client(&self) -> &Outside {
        &self.client
    }

    /// The client in the mesh.
    pub(crate) const fn inside(&self) -> &Inside {
        &self.inside
    }

    /// Where the ingress takes TLS; where nobody listens, if that was not wanted.
    pub(crate) fn https(&self) -> SocketAddr {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        self.https.unwrap_or(nowhere)
    }

    /// A folder of the tour's own.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Where all workloads listen.
    pub(crate) fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.values().flatten().copied()
    }

    /// Renews the certificates of all workloads; false where there are none to renew, and in a control.
    ///
    /// # Errors
    /// When a certificate cannot be made or written.
    pub(crate) async fn renew(&self) -> Result<bool, CertificatesError> {
        match &self.certificates {
            Some(certified) if !self.control => certified.renewal.now().await.map(|()| true),
            _ => Ok(false),
        }
    }

    /// The folder of a workload's certificate.
    pub(crate) fn certificates_of(&self, workload: &str) -> Option<PathBuf> {
        let certified = self.certificates.as_ref()?;
        Some(certified.dir.join(workload))
    }

    /// The workloads of a service at their own addresses, as one calls them who is not in the mesh.
    pub(crate) fn plaintext(&self, service: &str) -> Vec<String> {
        let addresses = self.addresses.get(service).into_iter().flatten();
        addresses
            .map(|address| format!("http://{address}/health"))
            .collect()
    }

    /// The JSON API's answer of reviews, through the ingress.
    pub(crate) fn api(&self) -> String {
        format!("{}/api/v1/products/0/reviews", self.url)
    }

    /// Applies an edit and waits until it is in force; false in a control, where nothing is.
    ///
    /// # Errors
    /// When it is refused, or does not come into force.
    pub(crate) async fn apply(&mut self, edit: &'static Edit) -> Result<bool, EditError> {
        if self.control {
            return Ok(false);
        }
        let started = Instant::now();
        let file = edit.file;
        let rules = objects(edit)?;
        self.rules
            .extend(rules.into_iter().map(|o| (o.id(), o.yaml)));
        let texts: Vec<&str> = self.rules.values().map(|text| text.trim_end()).collect();
        let mut text = format!("{HEAD}{}\n", texts.join("\n---\n"));
        for (what, with) in &self.filled {
            text = text.replace(what, with);
        }
        self.applied.push(edit);
        folder::write(&self.dir, TOUR, &text)?;
        let probes = self.probes(edit);
        let waits = probes
            .iter()
            .map(|probe| self.wait(probe, started, file, true));
        let delays = try_join_all(waits).await?;
        self.delays.extend(delays);
        Ok(true)
    }

    /// Takes all edits back and waits until the baseline is in force.
    ///
    /// # Errors
    /// When that does not happen.
    pub(crate) async fn restore(&mut self) -> Result<(), EditError> {
        let started = Instant::now();
        let edits = std::mem::take(&mut self.applied);
        self.rules.clear();
        if !edits.is_empty() {
            folder::remove(&self.dir.join(TOUR))?;
        }
        let probes = edits.iter().flat_map(|edit| self.probes(edit));
        let probes: Vec<_> = probes.filter(Probe::tells_of_the_end).collect();
        let waits = probes
            .iter()
            .map(|probe| self.wait(probe, started, "the baseline", false));
        let delays = try_join_all(waits).await?;
        self.delays.extend(delays);
        Ok(())
    }

    /// How many requests reviews v2 was asked so far; nothing if it does not say.
    pub(crate) async fn asked_of_v2(&self) -> Option<u32> {
        let (_, reviews) = self
            .callers_of_ratings
            .iter()
            .find(|(name, _)| name == "reviews-v2")?;
        let url = reviews.replace("/reviews/0", demo::ASKED);
        let reply = self.client.get(&url, &HeaderMap::new()).await.ok()?;
        reply.text().parse().ok()
    }

    /// How long each edit took so far, in each service concerned.
    pub(crate) fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// Who is concerned by an edit, and how to see that.
    fn probes(&self, edit: &'static Edit) -> Vec<Probe> {
        let probe = |service: &str, url: String, sign| Probe {
            service: service.to_owned(),
            url,
            sign,
        };
        let rules = |rules: &[&'static str]| Sign::Rules(rules.to_vec());
        let mut probes = Vec::new();
        if !edit.reviews.is_empty() {
            probes.push(probe("productpage", self.api(), rules(edit.reviews)));
        }
        if let Some(rule) = edit.details {
            let url = format!("{}/api/v1/products/0", self.url);
            probes.push(probe("productpage", url, rules(&[rule])));
        }
        if let Some(rule) = edit.ratings {
            let callers = self.callers_of_ratings.iter();
            probes.extend(callers.map(|(name, url)| probe(name, url.clone(), rules(&[rule]))));
        }
        for told in edit.told {
            let (service, urls) = match told.by {
                By::Shop(path) | By::Ingress(path) | By::Named(_, path) => {
                    ("the ingress", vec![format!("{}{path}", self.url)])
                }
                // Each workload has the rule when it has heard of it.
                By::Plaintext(service) => (service, self.plaintext(service)),
                by @ (By::UnknownHost | By::Books) => {
                    ("the tour's own client", vec![self.inside.url(by)])
                }
            };
            let answer = |url| probe(service, url, Sign::Answer(*told));
            probes.extend(urls.into_iter().map(answer));
        }
        probes
    }

    /// Waits until a probe sees the edit, or does not see it any more; how long it took.
    async fn wait(
        &self,
        probe: &Probe,
        started: Instant,
        what: &str,
        wanted: bool,
    ) -> Result<Duration, EditError> {
        let mut last = "not made".to_owned();
        while started.elapsed() < IN_FORCE {
            // A request's rule was in force when the request began, at the latest when its answer came.
            let (seen, text) = self.look(probe).await;
            if seen == Some(wanted) {
                return Ok(started.elapsed());
            }
            last = text;
            tokio::time::sleep(PAUSE).await;
        }
        Err(EditError::NotInForce {
            what: what.to_owned(),
            service: probe.service.clone(),
            url: probe.url.clone(),
            waited: IN_FORCE,
            last,
        })
    }

    /// Whether a probe sees the edit, if it can tell; and what it sees.
    async fn look(&self, probe: &Probe) -> (Option<bool>, String) {
        let unrouted = |why: &dyn fmt::Display| (None, format!("routed by no rule ({why})"));
        match &probe.sign {
            Sign::Rules(rules) => match self.client.get(&probe.url, &HeaderMap::new()).await {
                Ok(reply) => match route(&reply) {
                    Some(route) => {
                        let seen = rules.iter().any(|rule| route.contains(rule));
                        (Some(seen), format!("routed by {route:?}"))
                    }
                    None => unrouted(&reply.status),
                },
                Err(error) => unrouted(&error),
            },
            Sign::Answer(told) => {
                let none = HeaderMap::new();
                let answered = match told.by {
                    By::Shop(_) => {
                        let reply = self.client.get(&probe.url, &shop::headers()).await;
                        reply.map(|reply| (reply.status, reply.body))
                    }
                    By::Named(host, _) => {
                        let reply = self.client.get(&probe.url, &named(host)).await;
                        reply.map(|reply| (reply.status, reply.body))
                    }
                    By::Ingress(_) | By::Plaintext(_) => {
                        let reply = self.client.get(&probe.url, &none).await;
                        reply.map(|reply| (reply.status, reply.body))
                    }
                    By::UnknownHost | By::Books => Ok(self.inside.get(&probe.url).await),
                };
                match answered {
                    Ok((status, body)) => {
                        let seen = told.sees.is(status.as_u16(), &body);
                        (Some(seen), format!("answered with {status}"))
                    }
                    Err(error) => {
                        let reset = matches!(told.sees, Sees::Reset) && error.is_cut_off();
                        (reset.then_some(true), format!("not answered ({error})"))
                    }
                }
            }
        }
    }
}

impl Probe {
    /// Whether it sees something else when the edit is taken back.
    const fn tells_of_the_end(&self) -> bool {
        !matches!(
            self.sign,
            Sign::Answer(Told {
                sees: Sees::Again(_),
                ..
            })
        )
    }
}

/// Where the workloads of each service listen.
fn addresses(demo: &Demo) -> BTreeMap<&'static str, Vec<SocketAddr>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (workload, address) in demo.workloads() {
        let of = all.entry(workload.service).or_default();
        of.push(*address);
    }
    all
}

/// What the files of tasks cannot know.
fn filled(demo: &Demo, scratch: &Path) -> Vec<(&'static str, String)> {
    let files = (
        "/etc/istio/ingressgateway-certs",
        scratch.display().to_string(),
    );
    let egress = demo.egress_address();
    let egress = egress.map(|address| ("15080", address.port().to_string()));
    [files].into_iter().chain(egress).collect()
}

fn named(host: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))])
}

fn certificates(demo: &Demo) -> Option<Certified> {
    Some(Certified {
        renewal: demo.renewal()?,
        dir: demo.workload_certificates()?,
    })
}

/// The rule that routed the call behind an answer.
fn route(reply: &Reply) -> Option<&str> {
    reply.headers.get(&demo::ROUTE)?.to_str().ok()
}

/// Rules are read here for the names of their objects; whether they can be in force the control plane says.
fn checked() -> Options {
    Options::default().certificates(true)
}

/// The objects of an edit.
fn objects(edit: &Edit) -> Result<Vec<Object>, EditError> {
    let file = edit.file;
    let loaded = checked()
        .parse([(PathBuf::from(file), edit.text.to_owned())])
        .map_err(|rejected| EditError::Rejected { file, rejected })?;
    Ok(loaded.config.objects().cloned().collect())
}

/// Refuses a folder that holds an object of these tasks.
fn nothing_is_taken(dir: &Path, tasks: &[Task], named: &Path) -> Result<(), EditError> {
    let loaded = checked().load(dir).map_err(|rejected| EditError::Folder {
        dir: named.to_owned(),
        rejected,
    })?;
    for edit in tasks.iter().flat_map(|task| task.edits()) {
        for ours in objects(edit)? {
            if let Some(theirs) = loaded.config.objects().find(|o| o.id() == ours.id()) {
                let file = theirs.file.strip_prefix(dir).unwrap_or(&theirs.file);
                return Err(EditError::Taken {
                    object: theirs.id(),
                    file: named.join(file),
                });
            }
        }
    }
    Ok(())
}

/// The version that answered the API.
pub(crate) fn version(reply: &Reply) -> Option<Version> {
    if reply.status != http::StatusCode::OK {
        return None;
    }
    let page: reviews::Page = serde_json::from_slice(&reply.body).ok()?;
    Version::of_pod(&page.podname)
}
