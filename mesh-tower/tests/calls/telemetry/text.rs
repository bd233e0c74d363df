//! A strict reader of Prometheus' text format 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

pub(super) type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) value: f64,
}

/// All samples, or what is wrong with the text.
pub(super) fn parse(text: &str) -> Result<Vec<Sample>, String> {
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let (mut types, mut helped) = (BTreeMap::new(), BTreeSet::new());
    let mut samples: Vec<Sample> = Vec::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').ok_or("no help")?;
            if !helped.insert(name) {
                return Err(format!("two HELP for {name}"));
            }
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, of) = of.split_once(' ').ok_or("no type")?;
            if !["counter", "gauge", "histogram"].contains(&of) || types.insert(name, of).is_some()
            {
                return Err(format!("TYPE {name} {of}"));
            }
        } else {
            let sample = sample(line)?;
            let family = types.get(&*sample.name).map_or_else(
                || {
                    let ends = ["_bucket", "_sum", "_count"];
                    let base = ends.iter().find_map(|end| sample.name.strip_suffix(end));
                    base.filter(|base| types.get(base) == Some(&"histogram"))
                },
                |_| Some(&*sample.name),
            );
            let family = family.ok_or_else(|| format!("no TYPE before {line:?}"))?;
            if !helped.contains(family) {
                return Err(format!("no HELP before {line:?}"));
            }
            if !seen.insert(format!("{} {:?}", sample.name, sample.labels)) {
                return Err(format!("twice: {line:?}"));
            }
            samples.push(sample);
        }
    }
    histograms(&samples)?;
    Ok(samples)
}

fn sample(line: &str) -> Result<Sample, String> {
    let error = |what: &str| format!("{what}: {line:?}");
    let (name, rest) = line.split_once('{').ok_or_else(|| error("no labels"))?;
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !is_name(name) {
        return Err(error("no name"));
    }
    let mut labels = Labels::new();
    let mut rest = rest;
    loop {
        let (label, after) = rest.split_once("=\"").ok_or_else(|| error("no label"))?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().ok_or_else(|| error("an open quote"))? {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next() {
                    Some((_, '\\')) => '\\',
                    Some((_, '"')) => '"',
                    Some((_, 'n')) => '\n',
                    _ => return Err(error("an unknown escape")),
                }),
                (_, other) => value.push(other),
            }
        };
        if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
            return Err(error("a label twice, or no name"));
        }
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ").ok_or_else(|| error("no value"))?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().map_err(|_| error("no number"))?,
    })
}

/// Buckets rise to `+Inf`, which is `_count`; there is a sum.
fn histograms(samples: &[Sample]) -> Result<(), String> {
    for count in samples {
        let Some(base) = count.name.strip_suffix("_count") else {
            continue;
        };
        let of = |end: &'static str| {
            let name = format!("{base}{end}");
            samples.iter().filter(move |one| {
                let mut labels = one.labels.clone();
                labels.remove("le");
                one.name == name && labels == count.labels
            })
        };
        let buckets: Vec<(f64, f64)> = of("_bucket")
            .map(|one| (one.labels["le"].parse().unwrap_or(f64::NAN), one.value))
            .collect();
        let rise = buckets
            .windows(2)
            .all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
        let last = buckets.last().copied();
        if !rise || last != Some((f64::INFINITY, count.value)) || of("_sum").count() != 1 {
            return Err(format!("no histogram: {count:?} {buckets:?}"));
        }
    }
    Ok(())
}

#[test]
fn broken_texts_are_refused() {
    let good = "# HELP a_b Words.\n# TYPE a_b counter\na_b{c=\"d\\\"\\\\\\n\",e=\"\"} 7\n# HELP h H.\n# TYPE h histogram\nh_bucket{c=\"\",le=\"1\"} 1\nh_bucket{c=\"\",le=\"+Inf\"} 3\nh_sum{c=\"\"} 2.5\nh_count{c=\"\"} 3\n";
    let samples = parse(good).unwrap();
    assert_eq!(samples.len(), 5);
    assert_eq!(samples[0].labels["c"], "d\"\\\n");
    assert_eq!(samples[0].value, 7.0);
    for (from, to) in [
        ("# TYPE a_b counter\n", ""),
        ("# HELP a_b Words.\n", ""),
        ("\\\"", "\""),
        ("\\n", "\\t"),
        (",e=", ",c="),
        ("} 7", "} seven"),
        ("} 7\n", "} 7\na_b{c=\"d\\\"\\\\\\n\",e=\"\"} 7\n"),
        ("h_count{c=\"\"} 3", "h_count{c=\"\"} 4"),
        ("le=\"1\"} 1", "le=\"1\"} 4"),
        ("h_sum{c=\"\"} 2.5\n", ""),
        ("h_count{c=\"\"} 3\n", "h_count{c=\"\"} 3"),
    ] {
        let broken = good.replacen(from, to, 1);
        assert_ne!(broken, good);
        assert!(parse(&broken).is_err(), "{from:?} -> {to:?}");
    }
}
