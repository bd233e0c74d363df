//! The YAML that the tour applies, and how to see that it is in force.
//!
//! Each rule has a name, which the client of the mesh reports with every call that the rule routed. Where no service of
//! Bookinfo makes the call, its status tells. A fault never hits who looks whether it is in force: it is jason's.

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
    /// Requests that are answered otherwise than without it, if it is about calls that no service of Bookinfo makes.
    pub told: &'static [Told],
}

/// A request whose answer tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// What is asked.
    pub by: By,
    /// The answer while the edit is in force, and at no other time.
    pub sees: Sees,
}

/// What tells.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sees {
    /// A status.
    Status(u16),
    /// A status, and a text in the body.
    Text(u16, &'static str),
    /// A status that there is without any edit, too, and was not before this one: coming into force, it tells.
    Again(u16),
    /// That the connection is closed without an answer.
    Reset,
}

/// Who is asked for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The ingress, for a path of shop.example.com.
    Shop(&'static str),
    /// The ingress, for a path of Bookinfo.
    Ingress(&'static str),
    /// The ingress under another name, for a path.
    Named(&'static str, &'static str),
    /// A service, without the mesh and in plaintext, at its workload's own address.
    Plaintext(&'static str),
    /// The tour's own client in the mesh, for a host that the registry does not know.
    UnknownHost,
    /// The same client, for a host that the registry may know.
    Books,
}

impl Sees {
    /// Whether an answer is it.
    pub(crate) fn is(self, status: u16, body: &[u8]) -> bool {
        match self {
            Self::Status(wanted) | Self::Again(wanted) => status == wanted,
            Self::Text(wanted, text) => {
                status == wanted && String::from_utf8_lossy(body).contains(text)
            }
            Self::Reset => false,
        }
    }
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
        "{what} is not in force in {service} after {waited:?}: a call to {url} was last {last}; is the \
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
        /// What was seen last: `routed by "reviews-v1"`.
        last: String,
    },
}

/// A file that is about nothing yet.
macro_rules! edit {
    ($file:literal) => {
        Edit {
            file: $file,
            text: include_str!(concat!("../../tasks/", $file)),
            reviews: &[],
            details: None,
            ratings: None,
            told: &[],
        }
    };
}

/// Every service to v1.
pub(crate) static ALL_V1: Edit = Edit {
    reviews: &["reviews-all-v1"],
    details: Some("details-all-v1"),
    ratings: Some("ratings-all-v1"),
    ..edit!("virtual-service-all-v1.yaml")
};
/// jason to v2, others to v1.
pub(crate) static TEST_V2: Edit = Edit {
    reviews: &["reviews-jason-v2", "reviews-others-v1"],
    ..edit!("virtual-service-reviews-test-v2.yaml")
};
/// reviews v1.
pub(crate) static V1: Edit = Edit {
    reviews: &["reviews-v1"],
    ..edit!("virtual-service-reviews-v1.yaml")
};
/// reviews v2.
pub(crate) static V2: Edit = Edit {
    reviews: &["reviews-v2"],
    ..edit!("virtual-service-reviews-v2.yaml")
};
/// 90 % v1, 10 % v3.
pub(crate) static V1_90_V3_10: Edit = Edit {
    reviews: &["reviews-90-10"],
    ..edit!("virtual-service-reviews-90-10.yaml")
};
/// Half v1, half v3.
pub(crate) static V1_50_V3_50: Edit = Edit {
    reviews: &["reviews-50-v3"],
    ..edit!("virtual-service-reviews-50-v3.yaml")
};
/// reviews v3.
pub(crate) static V3: Edit = Edit {
    reviews: &["reviews-v3"],
    ..edit!("virtual-service-reviews-v3.yaml")
};
/// Group B to v3, others to v1.
pub(crate) static AB: Edit = Edit {
    reviews: &["reviews-group-b", "reviews-group-a"],
    ..edit!("virtual-service-reviews-ab.yaml")
};
/// All on v1.
pub(crate) static BLUE: Edit = Edit {
    reviews: &["reviews-blue"],
    ..edit!("virtual-service-reviews-blue.yaml")
};
/// All on v3.
pub(crate) static GREEN: Edit = Edit {
    reviews: &["reviews-green"],
    ..edit!("virtual-service-reviews-green.yaml")
};
/// reviews v2, in half a second.
pub(crate) static TIMEOUT: Edit = Edit {
    reviews: &["reviews-half-a-second"],
    ..edit!("virtual-service-reviews-timeout.yaml")
};
/// reviews v1, and half of it to v2 as well.
pub(crate) static MIRROR: Edit = Edit {
    reviews: &["reviews-mirror"],
    ..edit!("virtual-service-reviews-mirror-v2.yaml")
};
/// jason's stars 2 s late.
pub(crate) static DELAY_2S: Edit = Edit {
    ratings: Some("ratings-2s-others"),
    ..edit!("virtual-service-ratings-delay-2s.yaml")
};
/// jason's stars 7 s late.
pub(crate) static TEST_DELAY: Edit = Edit {
    ratings: Some("ratings-test-delay-others"),
    ..edit!("virtual-service-ratings-test-delay.yaml")
};
/// Half of jason's stars 1.5 s late.
pub(crate) static DELAY_50: Edit = Edit {
    ratings: Some("ratings-delay-50-others"),
    ..edit!("virtual-service-ratings-delay-50.yaml")
};
/// No stars for jason.
pub(crate) static TEST_ABORT: Edit = Edit {
    ratings: Some("ratings-test-abort-others"),
    ..edit!("virtual-service-ratings-test-abort.yaml")
};
/// No stars for jason three times out of ten.
pub(crate) static ABORT_30: Edit = Edit {
    ratings: Some("ratings-abort-30-others"),
    ..edit!("virtual-service-ratings-abort-30.yaml")
};
/// No stars by gRPC for jason.
pub(crate) static GRPC_ABORT: Edit = Edit {
    ratings: Some("ratings-grpc-abort-others"),
    ..edit!("virtual-service-ratings-grpc-abort.yaml")
};
/// Another path for the API.
pub(crate) static REWRITE: Edit = Edit {
    told: &[Told {
        by: By::Shop("/books/0"),
        sees: Sees::Status(200),
    }],
    ..edit!("virtual-service-shop-rewrite.yaml")
};
/// The page has moved.
pub(crate) static REDIRECT: Edit = Edit {
    told: &[Told {
        by: By::Shop("/comedy-of-errors"),
        sees: Sees::Status(301),
    }],
    ..edit!("virtual-service-shop-redirect.yaml")
};
/// An answer of no service.
pub(crate) static CLOSED: Edit = Edit {
    told: &[Told {
        by: By::Shop("/productpage"),
        sees: Sees::Status(503),
    }],
    ..edit!("virtual-service-shop-closed.yaml")
};
/// Unknown hosts are refused.
pub(crate) static REGISTRY_ONLY: Edit = Edit {
    told: &[Told {
        by: By::UnknownHost,
        sees: Sees::Status(502),
    }],
    ..edit!("sidecar-registry-only.yaml")
};
/// A host outside is known.
pub(crate) static BOOKS: Edit = Edit {
    told: &[Told {
        by: By::Books,
        sees: Sees::Status(200),
    }],
    ..edit!("service-entry-books.yaml")
};

/// Plaintext is refused by ratings.
pub(crate) static STRICT_RATINGS: Edit = Edit {
    told: &[Told {
        by: By::Plaintext("ratings"),
        sees: Sees::Reset,
    }],
    ..edit!("peer-authentication-ratings-strict.yaml")
};
/// Plaintext is refused by everybody.
pub(crate) static STRICT: Edit = Edit {
    told: &[
        Told {
            by: By::Plaintext("details"),
            sees: Sees::Reset,
        },
        Told {
            by: By::Plaintext("productpage"),
            sees: Sees::Reset,
        },
    ],
    ..edit!("peer-authentication-strict.yaml")
};
/// Nobody may do anything.
pub(crate) static DENY_ALL: Edit = Edit {
    told: &[
        Told {
            by: By::Ingress("/productpage"),
            sees: Sees::Text(403, "RBAC: access denied"),
        },
        Told {
            by: By::Plaintext("details"),
            sees: Sees::Status(403),
        },
        Told {
            by: By::Plaintext("reviews"),
            sees: Sees::Status(403),
        },
        Told {
            by: By::Plaintext("ratings"),
            sees: Sees::Status(403),
        },
    ],
    ..edit!("authorization-policy-deny-all.yaml")
};
/// But anybody may read the page.
pub(crate) static VIEW_PAGE: Edit = Edit {
    told: &[Told {
        by: By::Ingress("/api/v1/products/0"),
        sees: Sees::Text(403, "product details are currently unavailable"),
    }],
    ..edit!("authorization-policy-productpage-viewer.yaml")
};
/// And the page may read details and reviews.
pub(crate) static VIEW_REVIEWS: Edit = Edit {
    told: &[
        Told {
            by: By::Ingress("/api/v1/products/0"),
            sees: Sees::Again(200),
        },
        Told {
            by: By::Ingress("/api/v1/products/0/reviews"),
            sees: Sees::Text(200, "Ratings service is currently unavailable"),
        },
    ],
    ..edit!("authorization-policy-details-reviews-viewer.yaml")
};
/// And reviews may read ratings.
pub(crate) static VIEW_RATINGS: Edit = Edit {
    told: &[Told {
        by: By::Ingress("/api/v1/products/0/reviews"),
        sees: Sees::Text(200, "\"color\":\"black\""),
    }],
    ..edit!("authorization-policy-ratings-viewer.yaml")
};
/// One path is nobody's.
pub(crate) static DENY_PATH: Edit = Edit {
    told: &[Told {
        by: By::Ingress("/api/v1/products/0/ratings"),
        sees: Sees::Text(403, "RBAC: access denied"),
    }],
    ..edit!("authorization-policy-deny-path.yaml")
};
/// The namespace of the page may not read reviews.
pub(crate) static DENY_NAMESPACE: Edit = Edit {
    told: &[Told {
        by: By::Ingress("/api/v1/products/0/reviews"),
        sees: Sees::Status(403),
    }],
    ..edit!("authorization-policy-deny-namespace.yaml")
};
/// Tokens are asked for at the ingress.
pub(crate) static TOKENS: Edit = Edit {
    told: &[Told {
        by: By::Ingress("/productpage"),
        sees: Sees::Text(403, "RBAC: access denied"),
    }],
    ..edit!("request-authentication-ingress.yaml")
};
/// The ingress has certificates.
pub(crate) static HTTPS: Edit = Edit {
    told: &[Told {
        by: By::Named("bookinfo.example.com", "/productpage"),
        sees: Sees::Status(301),
    }],
    ..edit!("gateway-https.yaml")
};
/// Calls to the book service go through the egress gateway.
pub(crate) static WAY_OUT: Edit = edit!("gateway-egress.yaml");

#[cfg(test)]
mod tests {
    use crate::tour::Task;

    #[test]
    fn every_rule_that_is_waited_for_is_in_its_file() {
        for edit in Task::ALL.iter().flat_map(|task| task.edits()) {
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
            let count = |what: &str| edit.text.matches(what).count();
            let named = ["default", "istio-system"].map(|name| format!("\n  namespace: {name}\n"));
            let named: usize = named.iter().map(|line| count(line)).sum();
            assert_eq!(count("\nkind: "), named, "{}", edit.file);
        }
    }
}
