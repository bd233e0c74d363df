//! One round: publish, wait until both sides have it, send all requests through both, compare.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, RequestMirrorPolicy,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ads::{Peer, Verdict};
use crate::failure::{Doing, Failure, Result};
use crate::generate::PROBE;
use crate::outcome::Outcome;
use crate::reference::{self, Judgement};
use crate::request::Ask;
use crate::world::{EMPTY, World};

/// How many requests are under way at once.
const AT_ONCE: usize = 16;
/// How long a side may take from taking a configuration to answering by it.
const LIMIT: Duration = Duration::from_secs(10);

/// Whether both sides took a configuration.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Both did.
    Both,
    /// Both refused; what Envoy says.
    None(String),
    /// One did; the text says which, and why the other did not.
    One(String),
}

/// Publishes a configuration (ours may be another one in a negative control) and waits for what both say.
pub(crate) async fn publish(
    world: &World,
    envoy: &RouteConfiguration,
    ours: &RouteConfiguration,
) -> Result<Taken> {
    let verdicts = world.plane.push(envoy, ours).await?;
    let of = |peer: Peer| -> Verdict { verdicts.get(&peer).cloned().flatten() };
    Ok(match (of(Peer::Envoy), of(Peer::Workload)) {
        (None, None) => Taken::Both,
        (Some(why), Some(_)) => Taken::None(brief(&why)),
        (Some(why), None) => Taken::One(format!("only ours took it; Envoy: {}", brief(&why))),
        (None, Some(why)) => Taken::One(format!("only Envoy took it; ours: {}", brief(&why))),
    })
}

/// The reason without the configuration that Envoy quotes, and without our version.
fn brief(why: &str) -> String {
    let last = why.split("caused by ").last().unwrap_or(why);
    let last = last.split("\" rejected: ").last().unwrap_or(last);
    last.lines()
        .next()
        .unwrap_or(last)
        .chars()
        .take(300)
        .collect()
}

/// Waits until every host answers on both sides with the round.
///
/// The hosts are asked by their second domain, which is their own.
pub(crate) async fn in_force(
    world: &World,
    configuration: &RouteConfiguration,
    round: u64,
) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let wanted = round.to_string();
    for (at, host) in configuration.virtual_hosts.iter().enumerate() {
        let authority = host.domains.get(1).unwrap_or(&host.name);
        let ask = Ask::get(authority, PROBE);
        loop {
            let mut told = world.ours.send_both(&ask).await.to_vec();
            // Ours takes host by host, Envoy the whole at once.
            if at == 0 {
                told.push(world.envoy.send(&ask).await?);
            }
            for outcome in &told {
                world.copies.forget(outcome.number);
            }
            if told.iter().all(|outcome| outcome.body == wanted.as_bytes()) {
                break;
            }
            if Instant::now() > deadline {
                let told: Vec<String> = told.iter().map(ToString::to_string).collect();
                return Err(Failure::new(format!(
                    "round {round} is not in force at {authority} after {LIMIT:?}; workload, gateway, Envoy: {}",
                    told.join("; ")
                )));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(())
}

/// A request with what became of it on both sides, and what the rules say.
#[derive(Debug)]
pub(crate) struct Compared {
    /// The request.
    pub(crate) ask: Ask,
    /// Envoy's.
    pub(crate) envoy: Outcome,
    /// Ours.
    pub(crate) ours: Outcome,
    /// What the rules say.
    pub(crate) judgement: Judgement,
    /// What differs; empty when nothing does.
    pub(crate) differences: Vec<String>,
}

/// Sends requests through both sides, some at once.
pub(crate) async fn compare_all(
    world: &Arc<World>,
    configuration: &Arc<RouteConfiguration>,
    asks: Vec<Ask>,
) -> Result<Vec<Compared>> {
    let mut asks = asks;
    let mut tasks = JoinSet::new();
    let share = asks.len().div_ceil(AT_ONCE).max(1);
    while !asks.is_empty() {
        let part: Vec<Ask> = asks.drain(..share.min(asks.len())).collect();
        let (world, configuration) = (Arc::clone(world), Arc::clone(configuration));
        tasks.spawn(async move {
            let mut compared = Vec::with_capacity(part.len());
            for ask in part {
                compared.push(compare(&world, &configuration, ask).await?);
            }
            Ok::<_, Failure>(compared)
        });
    }
    let mut all = Vec::new();
    while let Some(part) = tasks.join_next().await {
        all.extend(part.doing("a task")??);
    }
    Ok(all)
}

/// Sends one request through both sides.
pub(crate) async fn compare(
    world: &World,
    configuration: &RouteConfiguration,
    ask: Ask,
) -> Result<Compared> {
    let mut envoy = world.envoy.send(&ask).await?;
    let mut ours = world.ours.send(&ask).await;
    with_copies(world, configuration, &mut envoy).await;
    with_copies(world, configuration, &mut ours).await;
    let judgement = reference::judge(&world.regexes, configuration, &ask);
    let mut differences = if !world.judged || is_certain(configuration, &judgement) {
        envoy.differs(&ours, world.direct_headers)
    } else {
        Vec::new()
    };
    for (side, outcome) in [("Envoy", &envoy), ("ours", &ours)] {
        if world.judged && !is_allowed(configuration, &judgement, outcome) {
            differences.push(format!("{side} against the plain reading of the rules"));
        }
    }
    Ok(Compared {
        ask,
        envoy,
        ours,
        judgement,
        differences,
    })
}

/// Waits for the copies that a request must have, and takes all that there are.
async fn with_copies(world: &World, configuration: &RouteConfiguration, outcome: &mut Outcome) {
    let wanted = match (&outcome.seen, &outcome.route) {
        (None, _) => Some(0),
        (Some(_), None) => None,
        (Some(_), Some(name)) => copies(configuration, name).map(|copies| 1 + copies),
    };
    match wanted {
        Some(wanted) => outcome.copied(world.copies.take(outcome.number, wanted).await),
        // It is not known by which route it went.
        None => world.copies.forget(outcome.number),
    }
}

/// How many copies a backend gets of a request by this route: the policies of the most specific level that has some
/// count, and those of whole fractions to clusters with endpoints make one each.
fn copies(configuration: &RouteConfiguration, name: &str) -> Option<usize> {
    let mut hosts = configuration.virtual_hosts.iter();
    let (host, route) = hosts.find_map(|host| {
        let route = host.routes.iter().find(|route| route.name == name)?;
        Some((host, route))
    })?;
    let own = match &route.action {
        Some(Action::Route(action)) => action.request_mirror_policies.as_slice(),
        _ => &[],
    };
    let levels = [
        own,
        &host.request_mirror_policies,
        &configuration.request_mirror_policies,
    ];
    let policies = levels.into_iter().find(|level| !level.is_empty());
    let arrives = |policy: &&RequestMirrorPolicy| {
        let fraction = policy.runtime_fraction.as_ref();
        let percent = fraction.and_then(|fraction| fraction.default_value);
        policy.cluster != EMPTY && percent.is_none_or(|percent| percent.numerator > 0)
    };
    Some(policies.unwrap_or_default().iter().filter(arrives).count())
}

/// Whether nothing is drawn on the way.
fn is_certain(configuration: &RouteConfiguration, judgement: &Judgement) -> bool {
    if judgement.routes.len() > 1 || (judgement.none && !judgement.routes.is_empty()) {
        return false;
    }
    judgement
        .routes
        .iter()
        .all(|at| clusters(configuration, judgement, *at).is_none_or(|names| names.len() == 1))
}

/// The clusters that a route may lead to, once for each entry that may be drawn; `None` when it does not forward.
fn clusters<'a>(
    configuration: &'a RouteConfiguration,
    judgement: &Judgement,
    at: usize,
) -> Option<Vec<&'a str>> {
    let route = configuration
        .virtual_hosts
        .get(judgement.host?)?
        .routes
        .get(at)?;
    let Some(Action::Route(action)) = &route.action else {
        return None;
    };
    Some(match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![name],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let positive = weighted.clusters.iter();
            let positive = positive.filter(|entry| entry.weight.is_some_and(|w| w.value > 0));
            positive.map(|entry| entry.name.as_str()).collect()
        }
        _ => Vec::new(),
    })
}

/// Whether an outcome is one of those that the rules allow: the route, and the cluster that was reached.
fn is_allowed(
    configuration: &RouteConfiguration,
    judgement: &Judgement,
    outcome: &Outcome,
) -> bool {
    let host = judgement
        .host
        .and_then(|at| configuration.virtual_hosts.get(at));
    let of_route = judgement.routes.iter().any(|at| {
        let name = host
            .and_then(|host| host.routes.get(*at))
            .map(|route| route.name.as_str());
        let same_name = name.filter(|name| !name.is_empty()) == outcome.route.as_deref();
        same_name
            && match (&outcome.seen, clusters(configuration, judgement, *at)) {
                (Some(seen), Some(names)) => names.contains(&seen.cluster.as_str()),
                (Some(_), None) => false,
                (None, _) => true,
            }
    });
    of_route || (judgement.none && outcome.route.is_none() && outcome.status == 404)
}
