//! One virtual host: the version that is wanted against the version that is published.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_core::route::VirtualHost;
use mesh_core::snapshot::Target;

use crate::assemble::DOES_NOT_EXIST_AFTER;
use crate::assemble::clusters::{Clusters, Resolution};

#[derive(Debug)]
pub(in crate::assemble) struct Host {
    pub(super) wanted: Arc<VirtualHost>,
    pub(super) wire: Vec<u8>,
    pub(super) published: Option<Arc<Target>>,
    /// The clusters that it refers to.
    pub(super) linked: BTreeSet<Arc<str>>,
    /// What the wanted version lacks. `None` also when it has been given up.
    pub(super) lacks: Option<Arc<str>>,
    /// Since when the wanted version cannot be published.
    incomplete_since: Option<Instant>,
    /// When it is published all the same.
    pub(super) give_up_at: Option<Instant>,
}

/// What stands around a host when it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// There is no control plane, so nothing can arrive and no time is counted.
    pub(super) paused: bool,
    pub(super) missing_grace: Duration,
}

impl Host {
    pub(super) fn new(wanted: Arc<VirtualHost>, wire: Vec<u8>, former: Option<Self>) -> Self {
        let (published, linked) = former
            .map(|former| (former.published, former.linked))
            .unwrap_or_default();
        Self {
            wanted,
            wire,
            published,
            linked,
            lacks: None,
            incomplete_since: None,
            give_up_at: None,
        }
    }

    /// Whether what is published is of the wanted version.
    pub(super) fn is_current(&self) -> bool {
        self.published
            .as_ref()
            .is_some_and(|published| Arc::ptr_eq(&published.host, &self.wanted))
    }

    /// Time begins anew.
    pub(super) fn forget_time(&mut self) {
        self.incomplete_since = None;
        self.give_up_at = None;
    }

    /// Finds out what the wanted version lacks, and whether that has been waited for long enough.
    pub(super) fn look(&mut self, moment: Moment, clusters: &Clusters) {
        let missing =
            self.wanted
                .needed_clusters()
                .find_map(|name| match clusters.resolution(name) {
                    Resolution::Ready(_) => None,
                    Resolution::Absent => Some((
                        format!("cluster {name:?} (CDS)").into(),
                        moment.missing_grace,
                    )),
                    Resolution::Waiting(what) => Some((what, DOES_NOT_EXIST_AFTER)),
                });
        self.give_up_at = None;
        let Some((what, patience)) = missing else {
            self.lacks = None;
            self.incomplete_since = None;
            return;
        };
        self.lacks = Some(what);
        if moment.paused {
            self.incomplete_since = None;
            return;
        }
        let give_up_at = *self.incomplete_since.get_or_insert(moment.now) + patience;
        if give_up_at <= moment.now {
            self.lacks = None;
        } else {
            self.give_up_at = Some(give_up_at);
        }
    }

    /// The wanted version with the clusters that there are.
    pub(super) fn wanted_target(&self, clusters: &Clusters) -> Arc<Target> {
        let ready = |name| match clusters.resolution(name) {
            Resolution::Ready(cluster) => Some(cluster),
            Resolution::Absent | Resolution::Waiting(_) => None,
        };
        Arc::new(Target {
            host: Arc::clone(&self.wanted),
            clusters: self
                .wanted
                .clusters()
                .iter()
                .map(|name| ready(name))
                .collect(),
            waiting_for: None,
        })
    }

    /// The first version has nothing to fall back on: calls wait for it. `None` when they do already.
    pub(super) fn placeholder(&self, what: &Arc<str>) -> Option<Arc<Target>> {
        let same = |published: &Arc<Target>| published.waiting_for.as_ref() == Some(what);
        if self.is_current() && self.published.as_ref().is_some_and(same) {
            return None;
        }
        Some(Arc::new(Target {
            host: Arc::clone(&self.wanted),
            clusters: Box::default(),
            waiting_for: Some(Arc::clone(what)),
        }))
    }

    /// The published version with the present endpoints of those of its clusters that are still
    /// there. `None` when nothing is different.
    pub(super) fn refreshed(&self, clusters: &Clusters) -> Option<Arc<Target>> {
        let published = self.published.as_ref()?;
        let mut changed = false;
        let present = published
            .host
            .clusters()
            .iter()
            .zip(&published.clusters)
            .map(|(name, held)| match clusters.resolution(name) {
                Resolution::Ready(cluster) => {
                    changed |= held
                        .as_ref()
                        .is_none_or(|held| !Arc::ptr_eq(held, &cluster));
                    Some(cluster)
                }
                Resolution::Absent | Resolution::Waiting(_) => held.clone(),
            });
        let clusters = present.collect();
        let host = Arc::clone(&published.host);
        changed.then(|| {
            Arc::new(Target {
                host,
                clusters,
                waiting_for: None,
            })
        })
    }
}
