//! A run: rounds until the time is up, then what was counted.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use tokio::time::Instant;

use crate::counts::{Counts, FAULTS};
use crate::descriptors::{Descriptors, SetFields};
use crate::dice::Dice;
use crate::failure::{Doing, Failure, Result};
use crate::feature::{Feature, Features};
use crate::fields::{self, Status};
use crate::findings::Findings;
use crate::generate::{self, Context};
use crate::nack::{self, Case};
use crate::round::{Taken, compare_all, in_force, publish};
use crate::sabotage;
use crate::world::World;

/// Doubtful configurations per round.
const DOUBTFUL: usize = 12;
/// Rounds of doubtful configurations have numbers from here on.
const DOUBTFUL_ROUNDS: u64 = 1 << 32;
/// A cluster that does not exist costs two seconds, so only one round in so many has one.
const UNKNOWN_EVERY: u64 = 10;

/// What is said of what a backend got and should not have.
const STRAY: &str = "number of copies: one that nobody expected";

/// Rounds of a negative control in which ours is told what Envoy is.
const TRUE_ROUNDS: u64 = 4;
/// At most so many in which it is told one lie.
const LYING_ROUNDS: usize = 3;

/// From this on a run's counts are judged.
const LONG: Duration = Duration::from_secs(60);
/// What such a run does at least, however slow the machine is.
const ROUNDS_OF_A_LONG_RUN: u64 = 60;

/// What a run is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where all choices come from.
    pub(crate) seed: u64,
    /// The first round.
    pub(crate) first: u64,
    /// How long.
    pub(crate) time: Duration,
    /// At most so many rounds.
    pub(crate) rounds: u64,
    /// What is generated.
    pub(crate) features: Features,
}

impl Plan {
    /// Whether the run is long enough for its counts to be judged.
    fn is_long(&self) -> bool {
        self.time >= LONG
    }
}

/// A run under way.
pub(crate) struct Run<W> {
    plan: Plan,
    world: Arc<World>,
    descriptors: Descriptors,
    cases: Vec<Case>,
    counts: Counts,
    set: SetFields,
    findings: Findings,
    requests: usize,
    rounds: u64,
    agreed: (usize, usize),
    /// Doubtful configurations on which the sides differ, as is known.
    known: BTreeMap<String, String>,
    out: W,
}

impl<W: Write> Run<W> {
    /// Nothing done yet.
    pub(crate) fn new(plan: Plan, world: Arc<World>, descriptors: Descriptors, out: W) -> Self {
        let cases = if plan.features.has(Feature::Nack) {
            nack::cases(&plan.features)
        } else {
            Vec::new()
        };
        Self {
            plan,
            world,
            descriptors,
            cases,
            counts: Counts::default(),
            set: SetFields::default(),
            findings: Findings::new(),
            requests: 0,
            rounds: 0,
            agreed: (0, 0),
            known: BTreeMap::new(),
            out,
        }
    }

    /// Rounds until the time is up. Returns whether nothing was wrong.
    pub(crate) async fn until_the_end(mut self) -> Result<bool> {
        let end = Instant::now() + self.plan.time;
        let mut round = self.plan.first;
        let mut case = 0;
        if let Some(nth) = round.checked_sub(DOUBTFUL_ROUNDS) {
            let nth = usize::try_from(nth).doing("the round")?;
            self.doubtful(nth % self.cases.len().max(1), nth).await?;
            return self.report(1);
        }
        while self.goes_on(end) {
            self.round(round).await?;
            for _ in 0..DOUBTFUL.min(self.cases.len()) {
                self.doubtful(case % self.cases.len(), case).await?;
                case += 1;
            }
            round += 1;
            self.rounds += 1;
        }
        self.report(case)
    }

    /// A long run also has its rounds on a slow machine: what is counted at its end needs them.
    fn goes_on(&self, end: Instant) -> bool {
        let wants_more = self.plan.is_long() && self.rounds < ROUNDS_OF_A_LONG_RUN;
        self.rounds < self.plan.rounds && (wants_more || Instant::now() < end)
    }

    async fn round(&mut self, round: u64) -> Result<()> {
        let mut d = Dice::new(self.plan.seed, round);
        let features = self.plan.features.clone();
        let world = Arc::clone(&self.world);
        let context = Context {
            features: &features,
            unknown_clusters: round % UNKNOWN_EVERY == UNKNOWN_EVERY - 1,
            round,
            regexes: &world.regexes,
        };
        let mut configuration = generate::configuration(&mut d, &context);
        let asks = generate::requests(&mut d, &context, &configuration);
        self.set.add(&self.descriptors.read(&configuration)?);
        if !matches!(
            publish(&self.world, &configuration, &configuration).await?,
            Taken::Both
        ) {
            self.without_refused(&mut configuration).await?;
        }
        in_force(&self.world, &configuration, round).await?;
        self.ask(Arc::new(configuration), asks, round).await
    }

    async fn ask(
        &mut self,
        configuration: Arc<RouteConfiguration>,
        asks: Vec<crate::request::Ask>,
        round: u64,
    ) -> Result<()> {
        self.requests += asks.len();
        for compared in compare_all(&self.world, &configuration, asks).await? {
            for (kind, hit) in &compared.judgement.decisive {
                self.counts.add(kind, *hit);
            }
            if self.plan.features.has(Feature::Fault) {
                for (kind, flags) in FAULTS {
                    let told = compared.envoy.flags.as_deref();
                    self.counts.add(kind, told == Some(flags));
                }
            }
            if !compared.differences.is_empty() {
                let place = (self.plan.seed, round);
                self.findings
                    .add(
                        &self.world,
                        &self.descriptors,
                        place,
                        &configuration,
                        compared,
                    )
                    .await?;
            }
        }
        for stray in self.world.copies.strays() {
            self.findings
                .tell(STRAY.to_owned(), format!("round {round}: {stray:?}"));
        }
        Ok(())
    }

    /// A generated configuration should be good: finds the hosts that are not, and goes on without them.
    async fn without_refused(&mut self, configuration: &mut RouteConfiguration) -> Result<()> {
        let hosts = std::mem::take(&mut configuration.virtual_hosts);
        for host in hosts {
            let one = RouteConfiguration {
                virtual_hosts: vec![host.clone()],
                ..configuration.clone()
            };
            let what = match publish(&self.world, &one, &one).await? {
                Taken::Both => {
                    configuration.virtual_hosts.push(host);
                    continue;
                }
                Taken::None(why) => format!("NACK of a generated host by both: {why}"),
                Taken::One(why) => format!("NACK of a generated host: {why}"),
            };
            self.findings.tell(what, self.descriptors.short(&one));
        }
        match publish(&self.world, configuration, configuration).await? {
            Taken::Both => Ok(()),
            Taken::None(why) | Taken::One(why) => Err(Failure::new(format!(
                "a configuration whose every host is taken is not: {why}"
            ))),
        }
    }

    /// A configuration that one of both may refuse. What both take is tried with some requests.
    async fn doubtful(&mut self, case: usize, nth: usize) -> Result<()> {
        let round = DOUBTFUL_ROUNDS + nth as u64;
        let Some(case) = self.cases.get(case) else {
            return Ok(());
        };
        let configuration = case.configuration(round);
        match publish(&self.world, &configuration, &configuration).await? {
            Taken::One(why) => match nack::known::reason(&case.name) {
                Some(reason) => {
                    self.known
                        .insert(case.name.clone(), format!("{reason} ({why})"));
                }
                None => self.findings.tell(format!("NACK: {}", case.name), why),
            },
            Taken::None(_) | Taken::Both if nack::known::reason(&case.name).is_some() => {
                let what = format!("NACK: {} is listed as a known difference", case.name);
                self.findings.tell(what, "the sides agree".to_owned());
            }
            Taken::None(_) => self.agreed.1 += 1,
            Taken::Both => {
                self.agreed.0 += 1;
                let host = &configuration.virtual_hosts[1];
                if let Some(reason) = case.unasked {
                    let name = format!("{} (taken by both)", case.name);
                    self.known.insert(name, reason.to_owned());
                    return Ok(());
                }
                if host.domains.is_empty() || host.routes.is_empty() {
                    return Ok(());
                }
                let mut told = configuration.clone();
                told.virtual_hosts.truncate(1);
                in_force(&self.world, &told, round).await?;
                let context = Context {
                    features: &self.plan.features.clone(),
                    unknown_clusters: false,
                    round,
                    regexes: &self.world.regexes,
                };
                let mut d = Dice::new(self.plan.seed, round);
                let asks = (0..4).map(|_| generate::request(&mut d, &context, host));
                let asks = asks.collect();
                self.ask(Arc::new(configuration), asks, round).await?;
            }
        }
        Ok(())
    }

    fn report(mut self, cases: usize) -> Result<bool> {
        let features = &self.plan.features;
        let few = self.counts.too_few(features);
        let (fields, unset) = field_report(features, &self.set);
        let text = format!(
            "{}\n{fields}\nseed {}: {} rounds, {} requests, {cases} doubtful configurations ({} different ones; both took {}, both refused {}), {} differences\n",
            self.counts.table(features),
            self.plan.seed,
            self.rounds,
            self.requests,
            self.cases.len(),
            self.agreed.0,
            self.agreed.1,
            self.findings.total(),
        );
        self.out
            .write_all(text.as_bytes())
            .doing("standard output")?;
        for (case, why) in &self.known {
            writeln!(self.out, "known difference: {case}: {why}").doing("standard output")?;
        }
        self.findings.print(&mut self.out)?;
        let mut wrong = Vec::new();
        let is_long = self.plan.is_long();
        if is_long && !few.is_empty() {
            let least = crate::counts::ENOUGH;
            wrong.push(format!(
                "hit or missed less than {least} times: {}",
                few.join("; ")
            ));
        }
        if is_long && !unset.is_empty() {
            wrong.push(format!(
                "listed as generated and never set: {}",
                unset.join(", ")
            ));
        }
        let unlisted = self.set.unlisted();
        if !unlisted.is_empty() {
            wrong.push(format!(
                "set and not listed as generated: {}",
                unlisted.join(", ")
            ));
        }
        if is_long && cases < self.cases.len() {
            wrong.push("not every doubtful configuration was tried".to_owned());
        }
        for sentence in &wrong {
            writeln!(self.out, "NOT ENOUGH {sentence}").doing("standard output")?;
        }
        Ok(wrong.is_empty() && self.findings.total() == 0)
    }
}

/// How many fields there are of each status, and those that should have been set and were not.
fn field_report(features: &Features, set: &SetFields) -> (String, Vec<String>) {
    let (mut generated, mut waiting, mut refused) = (0, Vec::new(), 0);
    let mut unset = Vec::new();
    for (message, field, status) in fields::all() {
        match status {
            Status::NotSupported(_) => refused += 1,
            Status::Generated(feature) if !features.has(feature) => {
                waiting.push(format!("{message}.{field}"));
            }
            Status::Generated(_) => {
                generated += 1;
                if set.count(message, field) == 0 {
                    unset.push(format!("{message}.{field}"));
                }
            }
        }
    }
    let text = format!(
        "fields: {generated} generated, {} of subjects that are off, {refused} not supported",
        waiting.len()
    );
    (text, unset)
}

/// The negative control: each way of telling ours something wrong must show in what it is about, and telling nothing
/// wrong must not.
pub(crate) async fn control(plan: &Plan, world: &Arc<World>, out: &mut impl Write) -> Result<bool> {
    let mut true_told = 0;
    for round in plan.first..plan.first + TRUE_ROUNDS {
        true_told += differing(plan, world, round, |_| {}).await?.len();
    }
    writeln!(
        out,
        "control: {TRUE_ROUNDS} rounds told the truth: {true_told} requests differ"
    )
    .doing("standard output")?;
    let mut all_found = true_told == 0;
    let possible = sabotage::all().filter(|sabotage| plan.features.has(sabotage.feature));
    let mut rounds = plan.first + TRUE_ROUNDS..;
    for sabotage in possible {
        let (mut differ, mut shown) = (0, 0);
        // What is rare may not come up in one round.
        for round in rounds.by_ref().take(LYING_ROUNDS) {
            let wrong_told = differing(plan, world, round, sabotage.change).await?;
            let about = |part: &String| part.starts_with(sabotage.shows);
            differ += wrong_told.len();
            shown += wrong_told
                .iter()
                .filter(|parts| parts.iter().any(about))
                .count();
            if shown > 0 {
                break;
            }
        }
        all_found &= shown > 0;
        writeln!(
            out,
            "control: {}: {differ} requests differ, {shown} of them in {:?}",
            sabotage.name,
            sabotage.shows.trim_end(),
        )
        .doing("standard output")?;
    }
    Ok(all_found)
}

/// What differs, request by request, in a round in which ours is told something else; and copies that nobody expected.
async fn differing(
    plan: &Plan,
    world: &Arc<World>,
    round: u64,
    change: impl Fn(&mut RouteConfiguration),
) -> Result<Vec<Vec<String>>> {
    let mut d = Dice::new(plan.seed, round);
    let context = Context {
        features: &plan.features,
        unknown_clusters: false,
        round,
        regexes: &world.regexes,
    };
    let configuration = generate::configuration(&mut d, &context);
    let mut ours = configuration.clone();
    change(&mut ours);
    let asks = generate::requests(&mut d, &context, &configuration);
    publish(world, &configuration, &ours).await?;
    in_force(world, &configuration, round).await?;
    let configuration = Arc::new(configuration);
    let compared = compare_all(world, &configuration, asks).await?;
    let differences = compared.into_iter().map(|compared| compared.differences);
    let mut all: Vec<Vec<String>> = differences.filter(|parts| !parts.is_empty()).collect();
    let strays = world.copies.strays();
    all.extend(strays.iter().map(|_| vec![STRAY.to_owned()]));
    Ok(all)
}
