//! The YAML that the tour applies, and how to see that it is in force.
//!
//! Each rule has a name, which the client of the mesh reports with every call that the rule routed.

use std::path::PathBuf;

use crate::launch::folder::FolderError;

/// An edit of the configuration: one file of `bookinfo-rs/tasks`.
#[derive(Debug)]
pub(crate) struct Edit {
    /// The file's name.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
    /// The rules for calls to reviews.
    pub reviews: &'static [&'static str],
    /// The rule for calls to details, if there is one.
    pub details: Option<&'static str>,
    /// The rule for calls to ratings, if there is one.
    pub ratings: Option<&'static str>,
}

/// A rule that could not be brought into force, or out of it.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It was refused.
    #[error("{file} is refused:\n{rejected}")]
    Rejected {
        /// The file.
        file: &'static str,
        /// Why.
        rejected: mesh_istio::Rejected,
    },
    /// The folder is wrong.
    #[error("the configuration in {} is wrong; correct it or name another folder with --config\n{rejected}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        rejected: mesh_istio::Rejected,
    },
    /// The tour's file.
    #[error(transparent)]
    File(#[from] FolderError),
    /// Somebody has a rule of that name.
    #[error(
        "{object} is in {} already, and the tour would put its own in its place; move that one out of the folder while the tour runs, or name another folder with --config",
        file.display()
    )]
    Taken {
        /// Which.
        object: String,
        /// Where.
        file: PathBuf,
    },
    /// It had no effect.
    #[error(
        "{what} is not in force in {service} after {waited:?}: a call to {url} was last routed by {last}; is the \
         control plane alive, and does it read this folder?"
    )]
    NotInForce {
        /// The edit.
        what: String,
        /// The service that was watched.
        service: String,
        /// How.
        url: String,
        /// How long.
        waited: std::time::Duration,
        /// The rule that was seen last.
        last: String,
    },
}

macro_rules! edit {
    ($file:literal, $reviews:expr) => {
        edit!($file, $reviews, None, None)
    };
    ($file:literal, $reviews:expr, $details:expr, $ratings:expr) => {
        Edit {
            file: $file,
            text: include_str!(concat!("../../tasks/", $file)),
            reviews: &$reviews,
            details: $details,
            ratings: $ratings,
        }
    };
}

/// Every service to v1.
pub(crate) static ALL_V1: Edit = edit!(
    "virtual-service-all-v1.yaml",
    ["reviews-all-v1"],
    Some("details-all-v1"),
    Some("ratings-all-v1")
);
/// jason to v2, others to v1.
pub(crate) static TEST_V2: Edit = edit!(
    "virtual-service-reviews-test-v2.yaml",
    ["reviews-jason-v2", "reviews-others-v1"]
);
/// reviews v1.
pub(crate) static V1: Edit = edit!("virtual-service-reviews-v1.yaml", ["reviews-v1"]);
/// 90 % v1, 10 % v3.
pub(crate) static V1_90_V3_10: Edit =
    edit!("virtual-service-reviews-90-10.yaml", ["reviews-90-10"]);
/// Half v1, half v3.
pub(crate) static V1_50_V3_50: Edit =
    edit!("virtual-service-reviews-50-v3.yaml", ["reviews-50-v3"]);
/// reviews v3.
pub(crate) static V3: Edit = edit!("virtual-service-reviews-v3.yaml", ["reviews-v3"]);
/// Group B to v3, others to v1.
pub(crate) static AB: Edit = edit!(
    "virtual-service-reviews-ab.yaml",
    ["reviews-group-b", "reviews-group-a"]
);
/// All on v1.
pub(crate) static BLUE: Edit = edit!("virtual-service-reviews-blue.yaml", ["reviews-blue"]);
/// All on v3.
pub(crate) static GREEN: Edit = edit!("virtual-service-reviews-green.yaml", ["reviews-green"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_is_waited_for_is_in_its_file() {
        for edit in [
            &ALL_V1,
            &TEST_V2,
            &V1,
            &V1_90_V3_10,
            &V1_50_V3_50,
            &V3,
            &AB,
            &BLUE,
            &GREEN,
        ] {
            for rule in edit
                .reviews
                .iter()
                .copied()
                .chain(edit.details)
                .chain(edit.ratings)
            {
                assert!(
                    edit.text.contains(&format!("- name: {rule}\n")),
                    "{rule} in {}",
                    edit.file
                );
            }
            // istiod's namespace for a file's object is not ours to guess.
            let count = |what| edit.text.matches(what).count();
            assert_eq!(
                count("\nkind: "),
                count("\n  namespace: default\n"),
                "{}",
                edit.file
            );
        }
    }
}
