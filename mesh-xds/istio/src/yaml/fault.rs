//! Why a document is not YAML, in words for who wrote it: the reader's own are for who calls it.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter};

use super::{MAX_DEPTH, MAX_NODES};

/// One sentence without its place.
pub(super) fn message(error: &Error) -> String {
    match error.without_snippet() {
        Error::Budget { breach, .. } => limit(breach),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias stands inside of its own anchor, so its value would never end".to_owned()
        }
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. } => too_many_aliases(),
        Error::AliasReplayStackDepthExceeded { .. } => too_deep(),
        Error::AliasError { error, .. } => message(error),
        other => {
            let text = DefaultMessageFormatter.format_message(other);
            if text == "recursion limit exceeded" {
                return too_deep();
            }
            // The reader's advice to its own caller is none for the author of a file.
            let text = text.split(", set DuplicateKeyPolicy").next();
            text.unwrap_or_default().to_owned()
        }
    }
}

fn limit(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => too_deep(),
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::MergeKeys { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. } => too_many_aliases(),
        BudgetBreach::SequenceUnbalanced => "a list or a mapping does not end".to_owned(),
        _ => format!(
            "the document is too large, it may have {MAX_NODES} keys, values, lists and mappings with what its \
             aliases repeat; split it with `---` lines"
        ),
    }
}

fn too_deep() -> String {
    format!("lists and mappings stand in each other more than {MAX_DEPTH} deep")
}

fn too_many_aliases() -> String {
    "its anchors and aliases repeat too much; write the values out or split the document".to_owned()
}
