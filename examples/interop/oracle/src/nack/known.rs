//! Doubtful configurations on which the sides are known not to agree. Each is told in every run, and one on
//! which they do agree after all fails it: then its line goes.

/// Why the sides differ on a case, if that is known.
pub(crate) fn reason(case: &str) -> Option<&'static str> {
    let (_, reason) = KNOWN.iter().find(|(name, _)| *name == case)?;
    Some(reason)
}

const LAXER: &str = "about a field that is not supported: ours does not look into it";
const LENGTH: &str = "ours does not limit the length of names";
const OTHERS: &str = "what is not known is ignored, and told";
const FILES: &str = "ours reads no files for a control plane; such an answer has no body";
const RE2: &str = "ours has the dialect of Rust's regular expressions, Envoy that of RE2";

const KNOWN: &[(&str, &str)] = &[
    ("cluster_header empty", LAXER),
    ("cluster_specifier_plugin unknown", LAXER),
    ("direct body of a nameless file", LAXER),
    ("fault in the place of another message", OTHERS),
    ("fault of no type", OTHERS),
    ("query of 1025", LENGTH),
    ("direct body of a file", FILES),
    (r#"regex "\\é""#, RE2),
    (r#"regex "(?:a{1000}){2}""#, RE2),
    (r#"regex "(?P<n>a)(?P<n>b)""#, RE2),
    (r#"regex "[[:foo:]]""#, RE2),
    (r#"regex "[\\w-z]""#, RE2),
    (r#"regex "[a--b]""#, RE2),
    (r#"regex "\\101""#, RE2),
    (r#"regex "\\u0041""#, RE2),
    (r#"regex "a**""#, RE2),
    (r#"regex "a++""#, RE2),
    (r#"regex "a{""#, RE2),
    (r#"regex "a{,2}""#, RE2),
    (r#"regex "a{1001}""#, RE2),
    (r#"regex "a{2""#, RE2),
    (r#"regex "a{2}{3}""#, RE2),
    (r#"regex "a{500}{2}""#, RE2),
    (r#"regex "{""#, RE2),
];
