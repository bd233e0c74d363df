//! An explanation as text: what is chosen, in the order of the decision, and beside it what is not.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::{
    ActionSeen, Candidates, ChoiceSeen, ClusterSeen, EndpointSeen, Explanation, FaultSeen,
    ForwardSeen, NotChosen, Refusal, RouteSeen, Unmet, Verdict, Way,
};
use crate::route::Limits;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.uri)?;
        write!(f, "generation {}", self.generation)?;
        match &self.table {
            Some((name, version)) if version.is_empty() => {
                writeln!(f, ", route configuration {name}")?;
            }
            Some((name, version)) => {
                writeln!(f, ", route configuration {name}, version {version}")?;
            }
            None => writeln!(f)?,
        }
        match &self.way {
            Way::Outside(why) => writeln!(f, "goes to the host that it asks for: {why}")?,
            Way::Refused(refusal) => writeln!(f, "fails with {refusal}")?,
            Way::Routes(candidates, routes) => {
                write!(f, "{candidates}")?;
                for route in routes {
                    write!(f, "{route}")?;
                }
                if let Some((probability, refusal)) = self.unrouted() {
                    writeln!(
                        f,
                        "no route ({}): fails with {refusal}",
                        Percent(probability)
                    )?;
                }
            }
        }
        let reaches = self.reaches();
        if reaches <= 0.0 {
            return writeln!(f, "=> no such request gets anywhere");
        }
        match self.is_passed_through() {
            true => writeln!(
                f,
                "=> {} of such requests leave the mesh for the host that they ask for",
                Percent(reaches)
            ),
            false => writeln!(f, "=> {} of such requests get somewhere", Percent(reaches)),
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            flags,
            reason,
        } = self;
        write!(f, "{} {flags}: {reason}", status.as_u16())
    }
}

impl Display for Candidates {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            chosen,
            others,
            count,
        } = self;
        write!(f, "virtual host {:?}", chosen.name)?;
        write!(f, ", by domain {:?}", chosen.domain)?;
        match self.policy() {
            Some("REGISTRY_ONLY") => write!(
                f,
                ": no other one is for this host, and outboundTrafficPolicy REGISTRY_ONLY blocks it; add a ServiceEntry for it"
            )?,
            Some(policy) => write!(
                f,
                ": no other one is for this host, and outboundTrafficPolicy {policy} lets it out"
            )?,
            None => {}
        }
        writeln!(f)?;
        for (other, why) in others {
            let why = match why {
                NotChosen::LessSpecific => "matches too, less specific",
                NotChosen::NoMatch => "does not match",
            };
            writeln!(
                f,
                "  not {:?}: its domain {:?} {why}",
                other.name, other.domain
            )?;
        }
        match count.saturating_sub(others.len() + 1) {
            0 => Ok(()),
            1 => writeln!(f, "  not 1 more, which is for another host"),
            more => writeln!(f, "  not {more} more, which are for other hosts"),
        }
    }
}

impl Display for RouteSeen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "route {:?}", self.name)?;
        if let Some(source) = &self.source {
            write!(f, " of {source}")?;
        }
        match &self.verdict {
            Verdict::Fails(unmet) => writeln!(f, ": does not match: {unmet}"),
            Verdict::NotAsked => writeln!(f, ": not asked, an earlier one takes all"),
            Verdict::Takes {
                probability,
                action,
                ..
            } => {
                writeln!(f, ": taken by {}", Percent(*probability))?;
                write!(f, "{action}")
            }
        }
    }
}

impl Display for Unmet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "expected {}, found {found:?}", self.expected),
            None => write!(f, "expected {}, found none", self.expected),
        }
    }
}

impl Display for ActionSeen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(forward) => write!(f, "{forward}"),
            Self::Refused(refusal) => writeln!(f, "  fails with {refusal}"),
            Self::Answer {
                status,
                location,
                length,
                fault,
            } => {
                write!(f, "  answered with {}", status.as_u16())?;
                if let Some(location) = location {
                    write!(f, ", location {location:?}")?;
                }
                writeln!(f, ", {length} bytes; nothing is sent")?;
                told(f, fault.as_ref())
            }
        }
    }
}

impl Display for ForwardSeen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            by,
            choices,
            limits,
            mirrors,
        } = self;
        if choices.len() > 1 {
            writeln!(f, "  split over {} clusters by {by}", choices.len())?;
        }
        for choice in choices {
            write!(f, "{choice}")?;
        }
        for mirror in mirrors {
            writeln!(
                f,
                "  copies, {}, nobody waits for them:",
                Percent(mirror.probability)
            )?;
            write!(f, "{}", mirror.cluster)?;
        }
        times(f, limits)
    }
}

fn times(f: &mut Formatter<'_>, limits: &Limits) -> fmt::Result {
    let named = [
        ("response", limits.route),
        ("whole call", limits.whole),
        ("silence", limits.idle),
    ];
    let mut set = named
        .into_iter()
        .filter_map(|(what, limit): (_, Option<Duration>)| Some((what, limit?)));
    let Some((what, limit)) = set.next() else {
        return writeln!(f, "  no timeout");
    };
    write!(f, "  timeout: {what} {limit:?}")?;
    for (what, limit) in set {
        write!(f, ", {what} {limit:?}")?;
    }
    writeln!(f)
}

impl Display for ChoiceSeen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {}, weight {}:",
            Percent(self.probability),
            self.weight
        )?;
        write!(f, "{}", self.cluster)?;
        match &self.rewritten {
            Some(Ok(uri)) => writeln!(f, "    sent as {uri}")?,
            Some(Err(reason)) => writeln!(f, "    not sent: {reason}")?,
            None => {}
        }
        for (name, value) in &self.headers {
            match value {
                Some(value) => writeln!(f, "    header {name}: {value}")?,
                None => writeln!(f, "    header {name} removed")?,
            }
        }
        told(f, self.fault.as_ref())
    }
}

fn told(f: &mut Formatter<'_>, fault: Option<&FaultSeen>) -> fmt::Result {
    let Some(FaultSeen { delay, abort }) = fault else {
        return Ok(());
    };
    if let Some((delay, probability)) = delay {
        writeln!(
            f,
            "    fault: delay {delay:?} for {}",
            Percent(*probability)
        )?;
    }
    if let Some((status, probability)) = abort {
        writeln!(f, "    fault: {status} for {}", Percent(*probability))?;
    }
    Ok(())
}

impl Display for ClusterSeen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "    cluster {:?}", self.name)?;
        if let Some(subset) = &self.subset {
            write!(f, ", subset {subset}")?;
        }
        if self.is_outside {
            write!(f, ", to the host that is asked for")?;
        } else if !self.policy.is_empty() {
            write!(f, ", {}", self.policy)?;
        }
        writeln!(f)?;
        if let Some(refusal) = &self.refusal {
            writeln!(f, "    fails with {refusal}")?;
        }
        for endpoint in &self.endpoints {
            writeln!(f, "      {endpoint}")?;
        }
        Ok(())
    }
}

impl Display for EndpointSeen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (address, health) = (self.address, self.health);
        write!(f, "{address} {health}, priority {}", self.priority)?;
        write!(f, ", weight {}", self.weight)?;
        if let Some(locality) = &self.locality {
            write!(f, ", locality {locality:?}")?;
        }
        match &self.passed_over {
            Some(why) => write!(f, ": not used: {why}"),
            None => Ok(()),
        }
    }
}

/// A share of all, in percent with as many digits as it has, four at most.
struct Percent(f64);

impl Display for Percent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", (self.0 * 1e6).round() / 1e4)
    }
}
