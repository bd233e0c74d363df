//! `mirror`, `mirrors` and their percentages: who gets a copy of the requests.

use crate::decode::{Fields, Schema, Sink};

use super::values::{Share, share, whole_share};
use super::{Destination, destination};

/// All fields of a route about copies. They are told apart because a delegate inherits each by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mirrors {
    pub(crate) one: Option<Destination>,
    /// `mirrorPercentage`, of `mirror` only.
    pub(crate) percentage: Option<Share>,
    /// `mirrorPercent`, the older form.
    pub(crate) percent: Option<Share>,
    /// `mirrors`, each with its share where it says one.
    pub(crate) many: Vec<(Destination, Option<Share>)>,
}

impl Mirrors {
    /// Who gets a copy of which share, without those who get none.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (&Destination, Share)> {
        let own = self.percentage.or(self.percent);
        let one = self.one.iter().map(move |to| (to, own));
        let many = self.many.iter().map(|(to, share)| (to, *share));
        let all = one.chain(many);
        all.map(|(to, share)| (to, share.unwrap_or(Share::ALL)))
            .filter(|(_, share)| !share.is_none())
    }
}

const MIRROR: Schema = Schema {
    served: &["destination", "percentage"],
    unserved: &[],
};

/// The fields of a route about copies.
pub(super) fn decode(route: &Fields<'_>, sink: &mut Sink) -> Mirrors {
    let one = route
        .get("mirror")
        .and_then(|value| destination(value, route.path_of("mirror"), sink));
    let mut many = Vec::new();
    for (i, item) in route.list("mirrors", sink).iter().enumerate() {
        let path = format!("{}.mirrors[{i}]", route.path);
        let Some(fields) = Fields::open(item, path, MIRROR, sink) else {
            continue;
        };
        let share = share(&fields, "percentage", sink);
        let Some(value) = fields.get("destination") else {
            sink.error(fields.at, format!("{}.destination is missing", fields.path));
            continue;
        };
        let to = destination(value, fields.path_of("destination"), sink);
        many.extend(to.map(|to| (to, share)));
    }
    if route.get("mirror").is_some() && !route.list("mirrors", sink).is_empty() {
        sink.error(
            route.place("mirrors"),
            format!("{} may have mirror or mirrors, not both", route.path),
        );
    }
    // Both spellings are protobuf's.
    let percent = whole_share(route, "mirrorPercent", sink)
        .or_else(|| whole_share(route, "mirror_percent", sink));
    Mirrors {
        one,
        percentage: share(route, "mirrorPercentage", sink),
        percent,
        many,
    }
}
