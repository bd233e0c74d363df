//! Differences: made small, told once each, replayable.

mod smaller;

use std::collections::BTreeMap;
use std::io::Write;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;

use crate::descriptors::Descriptors;
use crate::failure::{Doing, Result};
use crate::generate::{own_domain, probe};
use crate::reference::{self, Regexes};
use crate::request::Ask;
use crate::round::{Compared, Taken, compare, in_force, publish};
use crate::world::{EMPTY, UNKNOWN, World};

/// How many differences of a run are made small; the others are counted.
const SHRUNK: usize = 30;
/// What is said of those.
const NOT_SMALL: &str = "(not made small)";
/// How many kinds of differences are printed.
const TOLD: usize = 100;
/// How many trials one of them may take.
const TRIALS_EACH: usize = 400;
/// Rounds of trials have numbers from here on.
const TRIALS: u64 = 1 << 40;

/// What was found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// By shape: how often it came up, and the first of it.
    told: BTreeMap<String, (usize, String)>,
    /// What differed where, before it was made small: once is enough for each, by the shape that it led to.
    seen: BTreeMap<String, String>,
    total: usize,
    trials: u64,
}

impl Findings {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self {
            told: BTreeMap::new(),
            seen: BTreeMap::new(),
            total: 0,
            trials: TRIALS,
        }
    }

    /// How many requests, or configurations, went differently.
    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    /// Records a finding in words.
    pub(crate) fn tell(&mut self, what: String, found: String) {
        self.total += 1;
        self.told.entry(what).or_insert((0, found)).0 += 1;
    }

    /// Records a request that went differently, made small if there was none like it.
    pub(crate) async fn add(
        &mut self,
        world: &World,
        descriptors: &Descriptors,
        (seed, round): (u64, u64),
        configuration: &RouteConfiguration,
        found: Compared,
    ) -> Result<()> {
        let place = format!(
            "replay  --seed {seed} --round {round} --rounds 1: {}",
            found.ask
        );
        let like = shape_of_taken(&world.regexes, configuration, &found);
        if let Some(shape) = self.seen.get(&like).cloned() {
            self.tell(shape, place);
            return Ok(());
        }
        if self.seen.len() >= SHRUNK {
            self.tell(format!("{like} {NOT_SMALL}"), place);
            return Ok(());
        }
        let (small, found) = self
            .shrink(world, descriptors, configuration, found)
            .await?;
        let shape = shape(&world.regexes, &small, &found);
        let text = told(descriptors, &small, &found);
        self.seen.insert(like, shape.clone());
        self.tell(shape, format!("{text}\n    {place}"));
        Ok(())
    }

    /// Takes away what is not needed for the sides to differ.
    async fn shrink(
        &mut self,
        world: &World,
        descriptors: &Descriptors,
        configuration: &RouteConfiguration,
        found: Compared,
    ) -> Result<(RouteConfiguration, Compared)> {
        let mut best = (configuration.clone(), found);
        // A cluster that does not exist holds a host back for two seconds.
        let mut known = configuration.clone();
        only_known_clusters(&mut known);
        if let Some(quicker) = self.trial(world, known, best.1.ask.clone()).await? {
            best = quicker;
        }
        let configuration = &best.0.clone();
        if let Some(host) = best.1.judgement.host {
            let mut one = configuration.clone();
            one.virtual_hosts = vec![one.virtual_hosts.swap_remove(host)];
            let ask = best.1.ask.clone();
            if let Some(smaller) = self.trial(world, one, ask).await? {
                best = smaller;
            }
        }
        let mut trials_left = TRIALS_EACH;
        loop {
            let (message, ask) = (descriptors.read(&best.0)?, best.1.ask.clone());
            let asks = smaller::asks(&ask).into_iter();
            let candidates = smaller::configurations(&message)
                .into_iter()
                .map(|smaller| (smaller, ask.clone()))
                .chain(asks.map(|ask| (best.0.clone(), ask)));
            let mut found = None;
            for (configuration, ask) in candidates {
                if trials_left == 0 {
                    return Ok(best);
                }
                trials_left -= 1;
                found = self.trial(world, configuration, ask).await?;
                if found.is_some() {
                    break;
                }
            }
            match found {
                Some(smaller) => best = smaller,
                None => return Ok(best),
            }
        }
    }

    /// Whether the sides still differ.
    async fn trial(
        &mut self,
        world: &World,
        mut configuration: RouteConfiguration,
        ask: Ask,
    ) -> Result<Option<(RouteConfiguration, Compared)>> {
        self.trials += 1;
        for (at, host) in configuration.virtual_hosts.iter_mut().enumerate() {
            host.name = format!("t{}v{at}", self.trials);
            host.routes[0] = probe(self.trials);
        }
        if !matches!(
            publish(world, &configuration, &configuration).await?,
            Taken::Both
        ) {
            return Ok(None);
        }
        in_force(world, &configuration, self.trials).await?;
        let compared = compare(world, &configuration, ask).await?;
        Ok((!compared.differences.is_empty()).then_some((configuration, compared)))
    }

    /// Everything that was found, once each.
    pub(crate) fn print(&self, out: &mut impl Write) -> Result<()> {
        let mut told: Vec<_> = self.told.iter().collect();
        told.sort_by_key(|(what, (times, _))| {
            (what.contains(NOT_SMALL), std::cmp::Reverse(*times))
        });
        for (what, (times, found)) in told.iter().take(TOLD) {
            writeln!(out, "DIFFERENCE ({times} times) {what}\n    {found}")
                .doing("standard output")?;
        }
        if told.len() > TOLD {
            writeln!(out, "and {} more kinds of differences", told.len() - TOLD)
                .doing("standard output")?;
        }
        Ok(())
    }
}

fn only_known_clusters(configuration: &mut RouteConfiguration) {
    let routes = configuration
        .virtual_hosts
        .iter_mut()
        .flat_map(|host| &mut host.routes);
    for route in routes {
        if let Some(Action::Route(action)) = &mut route.action
            && let Some(ClusterSpecifier::Cluster(name)) = &mut action.cluster_specifier
            && name == UNKNOWN
        {
            EMPTY.clone_into(name);
        }
    }
}

/// What differs, and the kinds of tests in the routes that the sides took.
fn shape_of_taken(
    regexes: &Regexes,
    configuration: &RouteConfiguration,
    found: &Compared,
) -> String {
    let what = found.differences.join(", ");
    if found.envoy.route == found.ours.route && found.envoy.route.is_some() {
        return what; // how the route was found is not the matter
    }
    let routes = configuration
        .virtual_hosts
        .iter()
        .flat_map(|host| &host.routes);
    let taken = |route: Option<&str>| {
        let mut named = routes.clone().filter(|r| Some(r.name.as_str()) == route);
        let matches = named.next().and_then(|route| route.r#match.as_ref());
        match matches {
            Some(matches) => reference::shape(regexes, matches, &found.ask),
            None => "none".to_owned(),
        }
    };
    format!(
        "{what}; Envoy took {}; ours took {}",
        taken(found.envoy.route.as_deref()),
        taken(found.ours.route.as_deref()),
    )
}

/// What differs, and the kinds of tests in all routes of a small configuration.
fn shape(regexes: &Regexes, configuration: &RouteConfiguration, found: &Compared) -> String {
    let routes = configuration
        .virtual_hosts
        .iter()
        .flat_map(|host| host.routes.iter().skip(1));
    let shapes = routes.filter_map(|route| {
        let matches = route.r#match.as_ref()?;
        Some(reference::shape(regexes, matches, &found.ask))
    });
    let shapes: Vec<String> = shapes.collect();
    format!("{}: {}", found.differences.join(", "), shapes.join("; "))
}

fn told(descriptors: &Descriptors, configuration: &RouteConfiguration, found: &Compared) -> String {
    let judgement = &found.judgement;
    let rules = match judgement.host {
        None => "no host".to_owned(),
        Some(host) => {
            let or = if judgement.none { " or none" } else { "" };
            format!("host {host}, routes {:?}{or}", judgement.routes)
        }
    };
    format!(
        "routes  {}\n    request {}\n    Envoy   {}\n    ours    {}\n    rules   {rules}",
        descriptors.short(&readable(configuration)),
        found.ask,
        found.envoy,
        found.ours,
    )
}

/// Without what every configuration has: the probes, and numbers in names.
fn readable(configuration: &RouteConfiguration) -> RouteConfiguration {
    let mut configuration = configuration.clone();
    for (at, host) in configuration.virtual_hosts.iter_mut().enumerate() {
        host.name = format!("v{at}");
        host.routes.remove(0);
        let own = (0..200)
            .map(own_domain)
            .find(|own| host.domains.first() == Some(own));
        if own.is_some() {
            host.domains[0] = own_domain(at);
            host.domains.remove(1);
        }
        for (nth, route) in host.routes.iter_mut().enumerate() {
            if !route.name.is_empty() {
                route.name = format!("{nth}");
            }
        }
    }
    configuration
}
