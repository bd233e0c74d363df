//! Paths before rules see them: exactly what Envoy makes of them.

use std::borrow::Cow;

use mesh_core::request::{PathNormalization, normalized};
use proptest::prelude::*;

#[path = "support/property.rs"]
mod property;

const RECORDED: &str = include_str!("data/normalized_paths.tsv");

const ALL: [PathNormalization; 3] = [
    PathNormalization::Base,
    PathNormalization::MergeSlashes,
    PathNormalization::DecodeAndMergeSlashes,
];

/// How many recorded paths differ from what a function makes of them, and the first that does.
fn differences(make: impl Fn(&str, PathNormalization) -> String) -> (usize, usize, Option<String>) {
    let (mut rows, mut different, mut first) = (0, 0, None);
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [path, outcomes @ ..] = &cells[..] else {
            panic!("{line}")
        };
        assert_eq!(outcomes.len(), ALL.len(), "{line}");
        for (how, expected) in ALL.into_iter().zip(outcomes) {
            let made = make(path, how);
            rows += 1;
            if made != *expected {
                different += 1;
                first.get_or_insert_with(|| format!("{path} {how:?}: {made}, Envoy {expected}"));
            }
        }
    }
    (rows, different, first)
}

#[test]
fn recorded_paths_come_out_as_from_envoy() {
    let (rows, different, first) = differences(|path, how| normalized(path, how).into_owned());
    assert!(rows > 1000, "rows were lost: {rows}");
    assert_eq!((different, first), (0, None));
}

/// The records can tell one step from another.
#[test]
fn recorded_paths_tell_the_steps_apart() {
    let (rows, none, _) =
        differences(|path, _| normalized(path, PathNormalization::None).into_owned());
    assert!(none > rows / 2, "{none} of {rows}");
    for wrong in ALL {
        let (_, different, _) = differences(|path, _| normalized(path, wrong).into_owned());
        assert!(different > 50, "{wrong:?}: {different}");
    }
}

/// Each sign alone, so that no other one has the path looked at closely.
#[test]
fn every_sign_alone_is_kept_or_escaped() {
    for sign in 0..=127_u8 {
        let path = format!("/{}", char::from(sign));
        let expected = match sign {
            b'.' => "/".to_owned(),
            b'\\' => "//".to_owned(),
            0..=b' ' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 127 => {
                format!("/%{sign:02X}")
            }
            _ => path.clone(),
        };
        assert_eq!(normalized(&path, PathNormalization::Base), expected);
    }
}

/// Paths of pieces that mean something, with escapes whole or broken.
fn paths(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(pieces), 0..12)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

const WHOLE: &[&str] = &[
    "/", "a", ".", "..", "%2e", "%2F", "%5c", "\\", "%41", "%25", "//", "/../", "é", "\"", "%20",
    "a;",
];

const ANY: &[&str] = &[
    "/", "a", ".", "%", "%2", "2", "e", "%2e", "\\", "f", "é", "%c3", "|", ";", "\u{7f}",
];

#[test]
fn normalizing_twice_is_normalizing_once() {
    property::holds(61, 4000, &(paths(WHOLE), 0..3_usize), |(path, how)| {
        let once = normalized(&path, ALL[how]);
        prop_assert_eq!(&normalized(&once, ALL[how]), &once, "{}", path);
        Ok(())
    });
}

#[test]
fn every_path_has_a_normal_form() {
    property::holds(62, 4000, &(paths(ANY), 0..3_usize), |(path, how)| {
        let normal = normalized(&path, ALL[how]);
        prop_assert!(normal.starts_with('/'), "{}", normal);
        // Only characters that no path may hold grow, to three bytes.
        let escaped = path
            .bytes()
            .filter(|byte| b"|\"\x7f".contains(byte))
            .count();
        prop_assert!(
            normal.len() <= path.len() + 2 * escaped,
            "{} -> {}",
            path,
            normal
        );
        let segments: Vec<&str> = normal.split('/').collect();
        prop_assert!(
            !segments.contains(&".") && !segments.contains(&".."),
            "{}",
            normal
        );
        prop_assert!(!normal.contains('\\'), "{}", normal);
        Ok(())
    });
}

/// What is normal already is not copied.
#[test]
fn a_normal_path_is_borrowed() {
    for path in [
        "/", "/a/b.c/d", "/a/b/", "/a%2Fb", "/a;x=1", "/%25", "*", "",
    ] {
        let normal = normalized(path, PathNormalization::Base);
        assert!(
            matches!(normal, Cow::Borrowed(text) if text == path),
            "{path}"
        );
    }
    for (path, how) in [
        ("//", PathNormalization::Base),
        ("/a%2Fb", PathNormalization::MergeSlashes),
        ("/../a%", PathNormalization::None),
    ] {
        assert!(matches!(normalized(path, how), Cow::Borrowed(_)), "{path}");
    }
    assert!(matches!(
        normalized("/a/../b", PathNormalization::Base),
        Cow::Owned(_)
    ));
}
