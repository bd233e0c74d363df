//! Certificates whose chain is good, and whose names are not those of whom we want.

use rcgen::{CustomExtension, DnType, SanType};

use super::Table;
use crate::tls::tests::mask::Check;
use crate::tls::tests::pki::{Leaf, REVIEWS, changed, dns, named, raw_names, uri};

pub(super) fn all(table: &mut Table<'_>) {
    none(table);
    several(table);
    lists(table);
    unreadable(table);
    oversized(table);
    for (class, ids) in NO_IDS {
        for id in *ids {
            table.id(class, id, Check::NotSpiffe, Some(Check::NotSpiffe));
        }
    }
    for (class, ids) in FOREIGN {
        for id in *ids {
            table.id(class, id, Check::Wanted, Some(Check::Domain));
        }
    }
    for (class, ids) in OTHERS {
        for id in *ids {
            table.id(class, id, Check::Wanted, None);
        }
    }
}

fn none(table: &mut Table<'_>) {
    let of = |names: Vec<SanType>| {
        table
            .root
            .issue(&changed(|it| it.subject_alt_names = names))
    };
    let mail = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
    let common = |name: &str| {
        let mut params = named(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        table.root.issue(&params)
    };
    for (name, leaf) in [
        ("at all", of(vec![])),
        (
            "but an address",
            of(vec![SanType::IpAddress([127, 0, 0, 1].into())]),
        ),
        (
            "but a host",
            of(vec![dns("reviews.default.svc.cluster.local")]),
        ),
        (
            "but a wildcard",
            of(vec![dns("*.default.svc.cluster.local")]),
        ),
        ("but a common name", common("reviews")),
    ] {
        table.add("no URI name", name, leaf, Check::NoUri);
    }
    for (name, leaf) in [
        ("DNS", of(vec![dns(REVIEWS)])),
        ("DNS beside a host", of(vec![dns("reviews"), dns(REVIEWS)])),
        ("mail", of(vec![mail(REVIEWS)])),
        ("common name", common(REVIEWS)),
        (
            "DNS without its scheme",
            of(vec![dns("cluster.local/ns/default/sa/reviews")]),
        ),
    ] {
        table.add("id in another kind of name", name, leaf, Check::NoUri);
    }
}

fn several(table: &mut Table<'_>) {
    let ratings = "spiffe://cluster.local/ns/default/sa/ratings";
    let all: [(&str, &[&str]); 8] = [
        ("the wanted one first", &[REVIEWS, ratings]),
        ("the wanted one last", &[ratings, REVIEWS]),
        ("the same twice", &[REVIEWS, REVIEWS]),
        ("three", &[ratings, REVIEWS, ratings]),
        ("another scheme beside", &[REVIEWS, "https://reviews/"]),
        ("another scheme before", &["https://reviews/", REVIEWS]),
        ("an empty one beside", &[REVIEWS, ""]),
        (
            "a foreign one beside",
            &[REVIEWS, "spiffe://evil/ns/default/sa/reviews"],
        ),
    ];
    for (name, uris) in all {
        let leaf = table.root.issue(&named(uris));
        table.add("several URI names", name, leaf, Check::SeveralUris);
    }
    let id = REVIEWS.as_bytes();
    let raw = |names: &[(u8, &[u8])]| with_extension(table, raw_names(names));
    for (name, leaf) in [
        (
            "one unreadable behind",
            raw(&[(0x86, id), (0x86, b"\xff\xfe")]),
        ),
        ("one unreadable before", raw(&[(0x86, b"\xff"), (0x86, id)])),
    ] {
        table.add("several URI names", name, leaf, Check::SeveralUris);
    }
}

fn with_extension(table: &Table<'_>, extension: CustomExtension) -> Leaf {
    let mut params = named(&[]);
    params.custom_extensions = vec![extension];
    table.root.issue(&params)
}

fn lists(table: &mut Table<'_>) {
    let id = REVIEWS.as_bytes();
    let raw = |bytes: Vec<u8>| {
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], bytes);
        with_extension(table, extension)
    };
    let short = u8::try_from(id.len()).unwrap();
    let list =
        |length: u8, tag: u8, name_length: u8| [&[0x30, length, tag, name_length], id].concat();
    let good = list(short + 2, 0x86, short);
    let twice = changed(|it| it.custom_extensions = vec![raw_names(&[(0x86, id)])]);
    for (name, leaf, check) in [
        (
            "a broken name behind",
            with_extension(table, raw_names(&[(0x86, id), (0x30, b"\x01")])),
            Check::NameList,
        ),
        (
            "a list that is longer than it is",
            raw(list(short + 9, 0x86, short)),
            Check::NameList,
        ),
        (
            "a name that is longer than its list",
            raw(list(short + 2, 0x86, short + 9)),
            Check::NameList,
        ),
        ("no list", raw(id.to_vec()), Check::NameList),
        (
            "a set",
            raw([&[0x31], &good[1..]].concat()),
            Check::NameList,
        ),
        ("nothing", raw(vec![]), Check::NameList),
        ("two lists", table.root.issue(&twice), Check::NameList),
    ] {
        table.add("names that are no list", name, leaf, check);
    }
}

fn unreadable(table: &mut Table<'_>) {
    let id = REVIEWS.as_bytes();
    let around = |before: &[u8], after: &[u8]| {
        let name = [before, id, after].concat();
        with_extension(table, raw_names(&[(0x86, &name)]))
    };
    for (name, leaf) in [
        ("behind", around(b"", b"\xff")),
        ("before", around(b"\xff", b"")),
        ("an overlong slash", around(b"", b"\xc0\xaf")),
        ("half a sign", around(b"", b"\xe2\x82")),
        ("a surrogate", around(b"", b"\xed\xa0\x80")),
        (
            "nothing else",
            with_extension(table, raw_names(&[(0x86, b"\xfe\xff")])),
        ),
    ] {
        table.add("unreadable URI name", name, leaf, Check::UnreadableUri);
    }
}

fn oversized(table: &mut Table<'_>) {
    let class = "oversized";
    let long = |count: usize| "a".repeat(count);
    for id in [
        format!("spiffe://cluster.local/ns/default/sa/{}", long(2048)),
        format!("spiffe://cluster.local/{}reviews", "ns/".repeat(700)),
        format!("spiffe://{}/ns/default/sa/reviews", long(256)),
        format!(
            "spiffe://cluster.local{}/ns/default/sa/reviews",
            long(20_000)
        ),
    ] {
        table.id(class, &id, Check::NotSpiffe, Some(Check::NotSpiffe));
    }
    let longest = format!("spiffe://{}/ns/default/sa/reviews", long(255));
    table.id(class, &longest, Check::Wanted, Some(Check::Domain));
    let longest = format!("spiffe://cluster.local/ns/default/sa/{}", long(2000));
    table.id(class, &longest, Check::Wanted, None);
    let many = |one: fn(usize) -> SanType| {
        let all = (0..400).map(one).collect();
        table.root.issue(&changed(|it| it.subject_alt_names = all))
    };
    let ids = many(|at| uri(&format!("spiffe://cluster.local/ns/default/sa/{at}")));
    let hosts = many(|at| dns(&format!("{at}.default.svc.cluster.local")));
    table.add(class, "four hundred ids", ids, Check::SeveralUris);
    table.add(class, "four hundred hosts", hosts, Check::NoUri);
}

type Ids = &'static [(&'static str, &'static [&'static str])];

/// What one reader might take for the id, and another one not.
const NO_IDS: Ids = &[
    (
        "NUL in the id",
        &[
            "spiffe://cluster.local/ns/default/sa/reviews\0",
            "spiffe://cluster.local/ns/default/sa/reviews\0.evil",
            "spiffe://cluster.local/ns/default/sa/reviews\0/x",
            "spiffe://cluster.local\0.evil/ns/default/sa/reviews",
            "spiffe://cluster.local\0/ns/default/sa/reviews",
            "\0spiffe://cluster.local/ns/default/sa/reviews",
            "spiffe://cluster.local/ns/default/sa/\0reviews",
        ],
    ),
    (
        "domain in another case",
        &[
            "spiffe://CLUSTER.LOCAL/ns/default/sa/reviews",
            "spiffe://Cluster.local/ns/default/sa/reviews",
            "spiffe://cluster.locaL/ns/default/sa/reviews",
        ],
    ),
    (
        "scheme in another case",
        &[
            "SPIFFE://cluster.local/ns/default/sa/reviews",
            "Spiffe://cluster.local/ns/default/sa/reviews",
            "spiffE://cluster.local/ns/default/sa/reviews",
        ],
    ),
    (
        "another scheme",
        &[
            "https://cluster.local/ns/default/sa/reviews",
            "http://cluster.local/ns/default/sa/reviews",
            "spiffes://cluster.local/ns/default/sa/reviews",
            "xspiffe://cluster.local/ns/default/sa/reviews",
            "spiffe:cluster.local/ns/default/sa/reviews",
            "spiffe:/cluster.local/ns/default/sa/reviews",
            "spiffe:///cluster.local/ns/default/sa/reviews",
            "//cluster.local/ns/default/sa/reviews",
            "cluster.local/ns/default/sa/reviews",
            "urn:spiffe://cluster.local/ns/default/sa/reviews",
        ],
    ),
    (
        "user or port",
        &[
            "spiffe://cluster.local@evil/ns/default/sa/reviews",
            "spiffe://evil@cluster.local/ns/default/sa/reviews",
            "spiffe://user:word@cluster.local/ns/default/sa/reviews",
            "spiffe://@cluster.local/ns/default/sa/reviews",
            "spiffe://cluster.local:80/ns/default/sa/reviews",
            "spiffe://cluster.local:/ns/default/sa/reviews",
            "spiffe://cluster.local:evil/ns/default/sa/reviews",
            "spiffe://[::1]/ns/default/sa/reviews",
        ],
    ),
    (
        "percent-encoded",
        &[
            "spiffe://cluster.local/ns/default/sa/review%73",
            "spiffe://cluster.local/ns/default/sa%2freviews",
            "spiffe://cluster.local/ns/default%2Fsa/reviews",
            "spiffe://cluster%2elocal/ns/default/sa/reviews",
            "spiffe://cluster.local%2fns/default/sa/reviews",
            "spiffe://cluster.local/ns/x/%2e%2e/default/sa/reviews",
            "spiffe://cluster.local/ns/default/sa/reviews%00",
            "spiffe://cluster.local/ns/default/sa/reviews%",
            "spiffe://cluster.local/ns/default/sa/reviews%2",
        ],
    ),
    (
        "dot segments",
        &[
            "spiffe://cluster.local/ns/x/../default/sa/reviews",
            "spiffe://cluster.local/ns/./default/sa/reviews",
            "spiffe://cluster.local/../ns/default/sa/reviews",
            "spiffe://cluster.local/./ns/default/sa/reviews",
            "spiffe://cluster.local/ns/default/sa/reviews/.",
            "spiffe://cluster.local/ns/default/sa/reviews/..",
            "spiffe://cluster.local/ns/default/sa/x/../reviews",
        ],
    ),
    (
        "empty segments",
        &[
            "spiffe://cluster.local/ns/default/sa/reviews/",
            "spiffe://cluster.local//ns/default/sa/reviews",
            "spiffe://cluster.local/ns//default/sa/reviews",
            "spiffe://cluster.local/ns/default/sa//reviews",
            "spiffe://cluster.local/ns/default/sa/",
            "spiffe://cluster.local/",
        ],
    ),
    (
        "query or fragment",
        &[
            "spiffe://cluster.local/ns/default/sa/reviews?",
            "spiffe://cluster.local/ns/default/sa/reviews?x=1",
            "spiffe://cluster.local/ns/default/sa/reviews#",
            "spiffe://cluster.local/ns/default/sa/reviews#x",
            "spiffe://cluster.local?/ns/default/sa/reviews",
            "spiffe://cluster.local#/ns/default/sa/reviews",
            "spiffe://evil?spiffe://cluster.local/ns/default/sa/reviews",
        ],
    ),
    (
        "white space and controls",
        &[
            " spiffe://cluster.local/ns/default/sa/reviews",
            "spiffe://cluster.local/ns/default/sa/reviews ",
            "spiffe://cluster.local/ns/default/sa/reviews\n",
            "spiffe://cluster.local/ns/default/sa/reviews\r\n",
            "spiffe://cluster.local/ns/default/sa/\treviews",
            "spiffe://cluster.local /ns/default/sa/reviews",
            "spiffe://evil\nspiffe://cluster.local/ns/default/sa/reviews",
            "spiffe://cluster.local/ns/default/sa/reviews\u{7f}",
            "spiffe://cluster.local/ns/default/sa/reviews\u{1b}[0m",
        ],
    ),
    (
        "signs that no id has",
        &[
            "spiffe://cluster.local/ns/default/sa/reviews;x",
            "spiffe://cluster.local/ns/default/sa/reviews,spiffe://evil/x",
            "spiffe://cluster.local/ns/default/sa/*",
            "spiffe://*/ns/default/sa/reviews",
            "spiffe://cluster.local\\ns\\default\\sa\\reviews",
            "spiffe://evil\\@cluster.local/ns/default/sa/reviews",
            "spiffe://cluster.local/ns/default/sa/reviews\"",
            "spiffe://cluster.local/ns/default/sa/reviews'",
            "spiffe://cluster.local/ns/default/sa/$reviews",
        ],
    ),
    (
        "not of a workload",
        &[
            "spiffe://cluster.local",
            "spiffe://",
            "spiffe:///",
            "",
            "reviews",
        ],
    ),
];

/// Workloads of other trust domains.
const FOREIGN: Ids = &[
    (
        "look-alike domain",
        &[
            "spiffe://cluster.local.evil/ns/default/sa/reviews",
            "spiffe://cluster.local.evil.org/ns/default/sa/reviews",
            "spiffe://cluster.localx/ns/default/sa/reviews",
            "spiffe://cluster.loca/ns/default/sa/reviews",
            "spiffe://evil.cluster.local/ns/default/sa/reviews",
            "spiffe://xcluster.local/ns/default/sa/reviews",
            "spiffe://luster.local/ns/default/sa/reviews",
            "spiffe://cluster-local/ns/default/sa/reviews",
            "spiffe://cluster_local/ns/default/sa/reviews",
            "spiffe://clusterxlocal/ns/default/sa/reviews",
            "spiffe://cluster.local./ns/default/sa/reviews",
            "spiffe://.cluster.local/ns/default/sa/reviews",
            "spiffe://cluster..local/ns/default/sa/reviews",
            "spiffe://c1uster.local/ns/default/sa/reviews",
            "spiffe://cluster.1ocal/ns/default/sa/reviews",
            "spiffe://xn--cluster-9kf.local/ns/default/sa/reviews",
        ],
    ),
    (
        "wrong domain",
        &[
            "spiffe://evil/ns/default/sa/reviews",
            "spiffe://cluster/ns/default/sa/reviews",
            "spiffe://local/ns/default/sa/reviews",
            "spiffe://old.local/ns/default/sa/reviews",
            "spiffe://evil/cluster.local/ns/default/sa/reviews",
            "spiffe://ns/default/sa/reviews",
            "spiffe://127.0.0.1/ns/default/sa/reviews",
        ],
    ),
];

/// Other workloads of ours.
const OTHERS: Ids = &[
    (
        "another workload",
        &[
            "spiffe://cluster.local/ns/default/sa/ratings",
            "spiffe://cluster.local/ns/evil/sa/reviews",
            "spiffe://cluster.local/ns/kube-system/sa/reviews",
            "spiffe://cluster.local/ns/reviews/sa/default",
            "spiffe://cluster.local/sa/reviews/ns/default",
            "spiffe://cluster.local/default/reviews",
            "spiffe://cluster.local/reviews",
            "spiffe://cluster.local/ns/default/pod/reviews",
        ],
    ),
    (
        "longer and shorter identities",
        &[
            "spiffe://cluster.local/ns/default/sa/reviews2",
            "spiffe://cluster.local/ns/default/sa/reviews-v2",
            "spiffe://cluster.local/ns/default/sa/reviews.evil",
            "spiffe://cluster.local/ns/default/sa/review",
            "spiffe://cluster.local/ns/default/sa/r",
            "spiffe://cluster.local/ns/default/sa",
            "spiffe://cluster.local/ns/default",
            "spiffe://cluster.local/ns/default/sa/reviews/x",
            "spiffe://cluster.local/ns/default/sa/reviews/sa/x",
            "spiffe://cluster.local/x/ns/default/sa/reviews",
            "spiffe://cluster.local/cluster.local/ns/default/sa/reviews",
            "spiffe://cluster.local/ns/default2/sa/reviews",
            "spiffe://cluster.local/ns/efault/sa/reviews",
        ],
    ),
    (
        "account in another case",
        &[
            "spiffe://cluster.local/ns/default/sa/Reviews",
            "spiffe://cluster.local/ns/default/sa/REVIEWS",
            "spiffe://cluster.local/ns/Default/sa/reviews",
            "spiffe://cluster.local/NS/default/SA/reviews",
            "spiffe://cluster.local/ns/default/sa/reviewS",
        ],
    ),
    (
        "look-alike account",
        &[
            "spiffe://cluster.local/ns/default/sa/rev1ews",
            "spiffe://cluster.local/ns/default/sa/reviews_",
            "spiffe://cluster.local/ns/default/sa/reviews.",
            "spiffe://cluster.local/ns/default/sa/-reviews",
            "spiffe://cluster.local/ns/default/sa/revievvs",
            "spiffe://cluster.local/ns/defau1t/sa/reviews",
        ],
    ),
];
