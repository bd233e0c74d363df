//! All cases, and the judgement.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Options;
use crate::case::{self, Case};
use crate::compare::{self, Outcome};
use crate::control::LIES;
use crate::failure::{Doing, Failure, Result};
use crate::known::{Difference, Known};
use crate::tree::Protos;

/// Whether all is as the list says.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<bool> {
    let mut known = Known::load()?;
    let cases = chosen(options.cases.as_deref())?;
    let outcomes = all(&cases, options)?;
    if options.control {
        return control(&outcomes, &known, out);
    }
    let text = "standard output";
    let mut new = Vec::new();
    for (case, outcome) in cases.iter().zip(&outcomes) {
        let before = new.len();
        for difference in &outcome.differences {
            if !known.has(difference) {
                new.push(difference);
            }
        }
        let (all, new) = (outcome.differences.len(), new.len() - before);
        let (name, resources, values) = (&case.name, outcome.resources, outcome.values);
        writeln!(
            out,
            "{name}: {resources} resources, {values} values, {all} differences, {new} not known"
        )
        .doing(text)?;
    }
    for difference in &new {
        writeln!(out, "DIFFERS {difference}").doing(text)?;
    }
    let mut good = new.is_empty();
    for (count, line) in known.counts() {
        writeln!(out, "known {count:>5} {line}").doing(text)?;
        if count == 0 && options.cases.is_none() {
            good = false;
            writeln!(out, "STALE {line}: no case has it; take the line away").doing(text)?;
        }
    }
    writeln!(out, "{} not known", new.len()).doing(text)?;
    Ok(good)
}

fn chosen(names: Option<&str>) -> Result<Vec<Case>> {
    let mut cases = case::all()?;
    if let Some(names) = names {
        cases.retain(|case| names.split(',').any(|name| case.name.contains(name)));
    }
    if cases.is_empty() {
        return Err(Failure::new("no case has such a name"));
    }
    Ok(cases)
}

/// Each case under an istiod of its own, some at a time; the outcomes in the order of the cases.
fn all(cases: &[Case], options: &Options) -> Result<Vec<Outcome>> {
    let protos = Protos::load()?;
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.doing("the runtime")?;
        while let Some((at, case)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            cases.get(at).map(|case| (at, case))
        } {
            let outcome = runtime.block_on(compare::case(case, &protos, options.control));
            // Without an istiod for one there is none for the others. Any other failure is told with theirs.
            if outcome.as_ref().is_err_and(|failure| failure.not_run) {
                next.store(cases.len(), Ordering::Relaxed);
            }
            let mut outcomes = outcomes
                .lock()
                .map_err(|_| Failure::new("another case panicked"))?;
            outcomes.insert(at, outcome);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| Failure::new("a case panicked"))?)
    })?;
    let outcomes = outcomes
        .into_inner()
        .map_err(|_| Failure::new("a case panicked"))?;
    let mut done = Vec::new();
    let mut failed: Option<Failure> = None;
    for outcome in outcomes.into_values() {
        match outcome {
            Ok(outcome) => done.push(outcome),
            Err(failure) => {
                failed = Some(match failed {
                    Some(all) => all.and(&failure),
                    None => failure,
                });
            }
        }
    }
    failed.map_or(Ok(done), Err)
}

/// Whether every lie was told, and seen as something that the list does not have.
fn control(outcomes: &[Outcome], known: &Known, out: &mut impl Write) -> Result<bool> {
    let mut good = true;
    for lie in LIES {
        let told = outcomes
            .iter()
            .flat_map(|outcome| &outcome.lies)
            .filter(|(what, _)| *what == lie);
        let (mut seen, mut unseen) = (0, 0);
        for (_, differences) in told {
            let is_new = |d: &Difference| !known.knows(d);
            *(if differences.iter().any(is_new) {
                &mut seen
            } else {
                &mut unseen
            }) += 1;
        }
        writeln!(out, "{lie}: seen {seen} times, not seen {unseen} times")
            .doing("standard output")?;
        good &= seen > 0 && unseen == 0;
    }
    Ok(good)
}
