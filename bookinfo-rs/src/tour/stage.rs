//! Where tasks are played: applies edits, waits until they are in force, takes them back, and measures how long
//! that took in each service concerned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use http::HeaderMap;
use mesh_istio::{Config, Object};
use tokio::time::Instant;

use super::Task;
use super::edits::{Edit, EditError};
use super::judge::Version;
use crate::launch::Demo;
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
    client: Outside,
    control: bool,
    applied: Vec<&'static Edit>,
    /// What the tour's file holds: documents by the names of their objects.
    rules: BTreeMap<String, String>,
    delays: Vec<Duration>,
}

/// How to see which rule a service's calls take.
#[derive(Debug)]
struct Probe {
    service: String,
    url: String,
}

impl Stage {
    /// A stage on this demo. As a control, nothing that is applied reaches it.
    ///
    /// # Errors
    /// When the folder holds an object that one of the tasks applies: it would be overwritten, and then gone. `named`
    /// is the folder as its owner calls it.
    pub(crate) fn new(
        demo: &Demo,
        control: bool,
        tasks: &[Task],
        named: &Path,
    ) -> Result<Self, EditError> {
        if !control {
            nothing_is_taken(demo.folder().path(), tasks, named)?;
        }
        let reviews = demo
            .workloads()
            .iter()
            .filter(|(workload, _)| workload.service == "reviews");
        let callers = reviews.filter(|(workload, _)| workload.version != "v1");
        Ok(Self {
            url: demo.url(),
            dir: demo.folder().path().to_owned(),
            callers_of_ratings: callers
                .map(|(w, address)| (w.name(), format!("http://{address}/reviews/0")))
                .collect(),
            client: Outside::default(),
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

    /// The JSON API's answer of reviews, through the ingress.
    pub(crate) fn api(&self) -> String {
        format!("{}/api/v1/products/0/reviews", self.url)
    }

    /// Applies an edit and waits until it is in force.
    ///
    /// # Errors
    /// When it is refused, or does not come into force.
    pub(crate) async fn apply(&mut self, edit: &'static Edit) -> Result<(), EditError> {
        if self.control {
            return Ok(());
        }
        let started = Instant::now();
        let file = edit.file;
        let rules = objects(edit)?;
        self.rules
            .extend(rules.into_iter().map(|o| (o.id(), o.yaml)));
        let texts: Vec<&str> = self.rules.values().map(|text| text.trim_end()).collect();
        self.applied.push(edit);
        folder::write(
            &self.dir,
            TOUR,
            &format!("{HEAD}{}\n", texts.join("\n---\n")),
        )?;
        let probes = self.probes(edit);
        let waits = probes.iter().map(|(probe, rules)| {
            self.wait(probe, started, file.to_owned(), move |route| {
                rules.iter().any(|rule| route.contains(rule))
            })
        });
        let delays = try_join_all(waits).await?;
        self.delays.extend(delays);
        Ok(())
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
        let probes: Vec<_> = edits.iter().flat_map(|edit| self.probes(edit)).collect();
        let waits = probes.iter().map(|(probe, rules)| {
            let what = "the baseline".to_owned();
            self.wait(probe, started, what, move |route| {
                !rules.iter().any(|rule| route.contains(rule))
            })
        });
        let delays = try_join_all(waits).await?;
        self.delays.extend(delays);
        Ok(())
    }

    /// How long each edit took so far, in each service concerned.
    pub(crate) fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// Who is concerned by an edit, and by which of its rules.
    fn probes(&self, edit: &'static Edit) -> Vec<(Probe, Vec<&'static str>)> {
        let page = |url: String| Probe {
            service: "productpage".to_owned(),
            url,
        };
        let mut probes = vec![(page(self.api()), edit.reviews.to_vec())];
        if let Some(rule) = edit.details {
            probes.push((page(format!("{}/api/v1/products/0", self.url)), vec![rule]));
        }
        if let Some(rule) = edit.ratings {
            probes.extend(self.callers_of_ratings.iter().map(|(service, url)| {
                (
                    Probe {
                        service: service.clone(),
                        url: url.clone(),
                    },
                    vec![rule],
                )
            }));
        }
        probes
    }

    async fn wait(
        &self,
        probe: &Probe,
        started: Instant,
        what: String,
        reached: impl Fn(&str) -> bool,
    ) -> Result<Duration, EditError> {
        let mut last = "no rule".to_owned();
        while started.elapsed() < IN_FORCE {
            // A request's rule was in force when the request began, at the latest when its answer came.
            match self.client.get(&probe.url, &HeaderMap::new()).await {
                Ok(reply) => match reply
                    .headers
                    .get(&demo::ROUTE)
                    .and_then(|route| route.to_str().ok())
                {
                    Some(route) if reached(route) => return Ok(started.elapsed()),
                    Some(route) => last = format!("{route:?}"),
                    None => last = format!("no rule ({})", reply.status),
                },
                Err(error) => last = format!("no rule ({error})"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        let (service, url) = (probe.service.clone(), probe.url.clone());
        Err(EditError::NotInForce {
            what,
            service,
            url,
            waited: IN_FORCE,
            last,
        })
    }
}

/// The objects of an edit.
fn objects(edit: &Edit) -> Result<Vec<Object>, EditError> {
    let file = edit.file;
    let loaded = Config::parse([(PathBuf::from(file), edit.text.to_owned())])
        .map_err(|rejected| EditError::Rejected { file, rejected })?;
    Ok(loaded.config.objects().cloned().collect())
}

/// Refuses a folder that holds an object of these tasks.
fn nothing_is_taken(dir: &Path, tasks: &[Task], named: &Path) -> Result<(), EditError> {
    let loaded = Config::load(dir).map_err(|rejected| EditError::Folder {
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
