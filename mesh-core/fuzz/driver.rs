//! Fuzzing by `cargo test`: the bodies of a package's fuzz targets over their committed corpora, and over
//! inputs that are made of them.
//!
//! ```text
//! cargo test -p PACKAGE --test fuzz                                     the corpora, and the controls
//! MESH_FUZZ_SECONDS=60 cargo test -p PACKAGE --test fuzz -- --ignored mutated     that long for each target
//! MESH_FUZZ_SEED=N ...                                                  the same inputs again, from this one on
//! cargo test -p PACKAGE --test fuzz -- --ignored written                writes the corpora anew
//! ```
//! With cargo-fuzz and a nightly compiler the same bodies run under libFuzzer: `cargo +nightly fuzz run TARGET`
//! in the package's folder.
#![allow(
    clippy::disallowed_methods,
    reason = "it runs for as long as it is told"
)]

use std::any::Any;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

/// Whether a property holds for an input; if not, why.
pub(crate) type Body = fn(&[u8]) -> Result<(), String>;

/// What is fuzzed.
pub(crate) struct Target {
    /// Its name: of the folder of its corpus and of its binary in `fuzz/`.
    pub(crate) name: &'static str,
    pub(crate) body: Body,
    /// The control: the same with a mistake, which the corpus has to find.
    pub(crate) broken: Body,
    /// What its corpus is written from.
    pub(crate) corpus: fn() -> Vec<Vec<u8>>,
    /// Pieces that mean something in its inputs.
    pub(crate) pieces: &'static [&'static str],
}

/// How many targets are fuzzed at once.
const AT_ONCE: usize = 2;
const LONGEST: usize = 4096;

fn folder(fuzz: &str, target: &Target) -> PathBuf {
    Path::new(fuzz).join("corpus").join(target.name)
}

fn corpus(fuzz: &str, target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder(fuzz, target);
    let entries = std::fs::read_dir(&folder).expect("a corpus; its test `written` writes it");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("a file"));
    paths.into_iter().map(read).collect()
}

fn outcome(body: Body, input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| body(input))).unwrap_or_else(|panic| Err(told(&*panic)))
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or_default())
}

/// Each body holds for its whole corpus.
pub(crate) fn holds(fuzz: &str, targets: &[Target]) {
    for target in targets {
        let all = corpus(fuzz, target);
        assert!(!all.is_empty(), "{} has no corpus", target.name);
        for (path, input) in all {
            let outcome = outcome(target.body, &input);
            assert_eq!(outcome, Ok(()), "{}", path.display());
        }
    }
}

/// Each control is found by its corpus, and each target has a binary for libFuzzer.
pub(crate) fn controls(fuzz: &str, targets: &[Target]) {
    let manifest = std::fs::read_to_string(Path::new(fuzz).join("Cargo.toml")).expect("a manifest");
    for Target { name, .. } in targets {
        let file = format!("fuzz_targets/{name}.rs");
        let listed = format!("name = \"{name}\"\npath = \"{file}\"");
        assert!(manifest.contains(&listed), "{listed}");
        assert!(Path::new(fuzz).join(file).exists(), "{name}");
    }
    for target in targets {
        let all = corpus(fuzz, target);
        let found = all
            .iter()
            .filter(|(_, input)| outcome(target.broken, input).is_err());
        assert!(
            found.count() > 0,
            "{}: the control is not found",
            target.name
        );
    }
}

/// Writes the corpora that are committed.
pub(crate) fn write(fuzz: &str, targets: &[Target]) {
    for target in targets {
        let folder = folder(fuzz, target);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (at, input) in (target.corpus)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("{at:02}")), input).expect("a file");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

/// Inputs that are made of the corpora, for so long each; an input is its seed's alone.
pub(crate) fn mutate(fuzz: &str, keep: &str, targets: &[Target]) {
    let time = Duration::from_secs(number("MESH_FUZZ_SECONDS").unwrap_or(5));
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed =
        number("MESH_FUZZ_SEED").unwrap_or_else(|| clock.expect("after 1970").as_micros() as u64);
    eprintln!(
        "MESH_FUZZ_SEED={seed}, {} s for each target",
        time.as_secs()
    );
    let next = Mutex::new(targets.iter());
    let failures = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let target = next.lock().expect("no panic").next();
                    let Some(target) = target else { return };
                    if let Some(text) = one(fuzz, keep, target, seed, time) {
                        failures.lock().expect("no panic").push_str(&text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{failures}");
}

fn one(fuzz: &str, keep: &str, target: &Target, first: u64, time: Duration) -> Option<String> {
    let all: Vec<Vec<u8>> = corpus(fuzz, target)
        .into_iter()
        .map(|(_, input)| input)
        .collect();
    let begun = Instant::now();
    let mut seed = first;
    while begun.elapsed() < time || seed == first {
        let input = mutated(&all, target.pieces, seed);
        if let Err(reason) = outcome(target.body, &input) {
            let path = Path::new(keep).join(format!("{}-{seed}", target.name));
            let _ = std::fs::write(&path, &input);
            let mut text = format!("{}: MESH_FUZZ_SEED={seed}: {reason}\n", target.name);
            let _ = writeln!(text, "  the input is in {}", path.display());
            return Some(text);
        }
        seed = seed.wrapping_add(1);
    }
    eprintln!("{}: {} inputs", target.name, seed.wrapping_sub(first));
    None
}

/// SplitMix64: short, and the same on every platform.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to what is under `end`; 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }
}

fn mutated(corpus: &[Vec<u8>], pieces: &[&str], seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut input = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(input.len() + 1);
        let end = at + dice.below((input.len() - at).min(16) + 1);
        match dice.below(8) {
            0 => input.truncate(at),
            1 if at < input.len() => input[at] ^= 1 << dice.below(8),
            2 if at < input.len() => input[at] = dice.next() as u8,
            3 => drop(input.drain(at..end)),
            4 => input.insert(at, dice.next() as u8),
            5 => {
                let copy = input[at..end].to_vec();
                drop(input.splice(at..at, copy));
            }
            6 if !pieces.is_empty() => {
                let piece = pieces[dice.below(pieces.len())];
                drop(input.splice(at..end, piece.bytes()));
            }
            _ => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input.truncate(LONGEST);
    input
}
